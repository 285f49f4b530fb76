"""Smooth hills: a sample without edges, which a displaced reference describes as well as waves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from simulator.materials import Material, material
from simulator.optics import Optics
from simulator.phantom import Slopes, frame_size_m, from_nearest


@dataclass(frozen=True, slots=True)
class Hill:
    """t = h·(1 − r²/R²)³ within the radius R around (x, y): smooth to the second derivative."""

    x_m: float
    y_m: float
    radius_m: float
    height_m: float


@dataclass(frozen=True, slots=True)
class HillPhantom:
    """Hills that overlap or not; the whole can be `moved`."""

    material: Material
    hills: tuple[Hill, ...]
    size_m: tuple[float, float]
    """Height and width of the frame, with which the phantom repeats."""

    def moved(self, x_m: float, y_m: float) -> HillPhantom:
        """The same sample elsewhere."""
        hills = tuple(replace(h, x_m=h.x_m + x_m, y_m=h.y_m + y_m) for h in self.hills)
        return replace(self, hills=hills)

    def thickness_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Thickness in m."""
        total = torch.zeros_like(x_m + y_m)
        for hill in self.hills:
            x, y = self._relative(hill, x_m, y_m)
            fall = (1 - x.square() - y.square()).clamp_(min=0)
            total += fall.pow(3).mul_(hill.height_m)
        return total

    def slopes(self, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
        """∂t/∂x and ∂t/∂y."""
        total_x = torch.zeros_like(x_m + y_m)
        total_y = torch.zeros_like(total_x)
        for hill in self.hills:
            x, y = self._relative(hill, x_m, y_m)
            fall = (1 - x.square() - y.square()).clamp_(min=0)
            factor = fall.square_().mul_(-6 * hill.height_m / hill.radius_m)
            total_x.addcmul_(factor, x)
            total_y.addcmul_(factor, y)
        return total_x, total_y

    def _relative(
        self, hill: Hill, x_m: torch.Tensor, y_m: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Position from the nearest repetition of the hill's centre, in radii."""
        height_m, width_m = self.size_m
        x = from_nearest(x_m, hill.x_m, width_m)
        y = from_nearest(y_m, hill.y_m, height_m)
        return x / hill.radius_m, y / hill.radius_m


def random_hills(
    optics: Optics,
    shape: tuple[int, int],
    generator: torch.Generator,
    count: int = 6,
    largest_px: float = 0.9,
    made_of: Material | None = None,
) -> HillPhantom:
    """Hills, of alumina if not said, anywhere in a frame `(H, W)`, some of them overlapping.

    Radii are 12 to 22 % of the frame's short side; all heights are scaled so that the largest
    displacement on the detector is `largest_px`.
    """
    pitch_m = optics.geometry.sample_pixel_m
    size_m = frame_size_m(optics, shape)
    draws = torch.rand((count, 4), generator=generator, dtype=torch.float64).tolist()
    hills = []
    for across, down, wide, steep in draws:
        radius_m = (0.12 + 0.1 * wide) * min(size_m)
        height_m = (0.4 + 0.6 * steep) * radius_m
        hills.append(Hill(across * size_m[1], down * size_m[0], radius_m, height_m))
    rough = HillPhantom(made_of or material("alumina", optics.energy_ev), tuple(hills), size_m)
    x_m, y_m = (pitch_m * torch.arange(n, dtype=torch.float64) for n in (shape[1], shape[0]))
    steepest = torch.hypot(*rough.slopes(x_m[None, :], y_m[:, None])).max()
    per_slope_px = rough.material.delta * optics.distance_m / optics.pixel_size_m
    scale = largest_px / (per_slope_px * float(steepest))
    return replace(rough, hills=tuple(replace(h, height_m=scale * h.height_m) for h in hills))
