"""The paper's sine phantom (section II-E4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from cade.errors import UsageError
from simulator.materials import Material, material
from simulator.optics import Optics
from simulator.phantom import Slopes, frame_size_m


@dataclass(frozen=True, slots=True)
class SinePhantom:
    """Thickness t = A·(1 − cos 2πw(x − left)) on its base.

    The paper's w = 1.33e-3 µm⁻¹ is a *spatial* frequency: two periods on a base of 1500 µm, and
    refraction angles up to ±2 µrad, as its figure shows. Read as an angular frequency it would give
    ±0.31 µrad. Thickness and angle go to zero where the base ends.
    """

    material: Material
    left_m: float
    width_m: float
    """Of the frame, with which the phantom repeats."""
    frequency_per_m: float = 1.33e3
    periods: int = 2
    refraction_rad: float = 2e-6
    """Largest refraction angle, from which the amplitude A follows."""

    def __post_init__(self) -> None:
        if self.base_m > self.width_m:
            raise UsageError(
                f"sine phantom: its base of {self.base_m * 1e6:.0f} µm does not fit into a frame "
                f"of {self.width_m * 1e6:.0f} µm; use a wider frame"
            )

    @property
    def base_m(self) -> float:
        """Length of the base."""
        return self.periods / self.frequency_per_m

    @property
    def amplitude_m(self) -> float:
        """A = α/(2π·w·δ)."""
        return self.refraction_rad / (2 * math.pi * self.frequency_per_m * self.material.delta)

    def thickness_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Thickness in m; it does not depend on y."""
        phase, on_base = self._phase(x_m)
        return self.amplitude_m * (1 - phase.cos()) * on_base + torch.zeros_like(y_m)

    def slopes(self, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
        """∂t/∂x and ∂t/∂y; the latter is zero."""
        phase, on_base = self._phase(x_m)
        steepest = 2 * math.pi * self.frequency_per_m * self.amplitude_m
        slope = steepest * phase.sin() * on_base + torch.zeros_like(y_m)
        return slope, torch.zeros_like(slope)

    def _phase(self, x_m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        along_m = (x_m - self.left_m) % self.width_m
        return 2 * math.pi * self.frequency_per_m * along_m, along_m < self.base_m


def sine_phantom(
    optics: Optics, shape: tuple[int, int], periods: int = 2, made_of: Material | None = None
) -> SinePhantom:
    """The paper's sine phantom, of alumina if not said, in the middle of a frame `(H, W)`.

    Raises:
        UsageError: the frame is narrower than the phantom.
    """
    _, width_m = frame_size_m(optics, shape)
    at_edge = SinePhantom(
        made_of or material("alumina", optics.energy_ev), 0.0, width_m, periods=periods
    )
    return replace(at_edge, left_m=(width_m - at_edge.base_m) / 2)
