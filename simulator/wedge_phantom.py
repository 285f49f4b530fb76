"""A wedge: it refracts by the same angle everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cade.errors import UsageError
from simulator.materials import Material
from simulator.optics import Optics
from simulator.phantom import Slopes, frame_size_m


@dataclass(frozen=True, slots=True)
class WedgePhantom:
    """Thickness t = slope·(x − left) on its base, nothing beside it; it refracts by −δ·slope.

    Raises:
        UsageError: the base does not fit into the frame, or the wedge has no thickness.
    """

    material: Material
    left_m: float
    base_m: float
    slope: float
    """Thickness over length; above zero, so that the vertical face is on the right."""
    width_m: float
    """Of the frame, with which the phantom repeats."""

    def __post_init__(self) -> None:
        if not 0 < self.base_m <= self.width_m:
            raise UsageError(
                f"wedge: a base of {self.base_m * 1e6:.4g} µm does not fit into a frame of "
                f"{self.width_m * 1e6:.0f} µm"
            )
        if not self.slope > 0:
            raise UsageError(f"wedge: its slope must be above zero, not {self.slope:g}")

    def thickness_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Thickness in m; it does not depend on y."""
        along_m = (x_m - self.left_m) % self.width_m
        return self.slope * along_m * (along_m < self.base_m) + torch.zeros_like(y_m)

    def slopes(self, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
        """∂t/∂x and ∂t/∂y; the latter is zero."""
        on_base = (x_m - self.left_m) % self.width_m < self.base_m
        slope = self.slope * on_base + torch.zeros_like(x_m + y_m)
        return slope, torch.zeros_like(slope)


def wedge(
    optics: Optics, shape: tuple[int, int], made_of: Material, displacement_px: float = 0.25
) -> WedgePhantom:
    """A wedge over four fifths of a frame `(H, W)` that moves speckle left by so many pixels."""
    _, width_m = frame_size_m(optics, shape)
    angle_rad = displacement_px * optics.pixel_size_m / optics.distance_m
    return WedgePhantom(made_of, 0.1 * width_m, 0.8 * width_m, angle_rad / made_of.delta, width_m)
