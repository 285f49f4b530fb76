"""Spheres: t = 2·√(R² − r²)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cade.errors import UsageError
from simulator.materials import Material
from simulator.optics import Optics
from simulator.phantom import Slopes, frame_size_m, from_nearest, round_slope


@dataclass(frozen=True, slots=True)
class Sphere:
    """Centre and radius in m."""

    x_m: float
    y_m: float
    radius_m: float


@dataclass(frozen=True, slots=True)
class SpherePhantom:
    """Spheres of one material; where they overlap in projection their thicknesses add.

    Raises:
        UsageError: a sphere is no sphere, or does not fit into the frame.
    """

    material: Material
    spheres: tuple[Sphere, ...]
    size_m: tuple[float, float]
    """Height and width of the frame, with which the phantom repeats."""

    def __post_init__(self) -> None:
        for sphere in self.spheres:
            if not 0 < 2 * sphere.radius_m <= min(self.size_m):
                raise UsageError(
                    f"spheres: a radius of {sphere.radius_m * 1e6:.4g} µm does not fit into a "
                    f"frame of {self.size_m[0] * 1e6:.0f} × {self.size_m[1] * 1e6:.0f} µm"
                )

    def thickness_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Thickness in m."""
        total = torch.zeros_like(x_m + y_m)
        for sphere in self.spheres:
            x, y = self._relative_m(sphere, x_m, y_m)
            total += 2 * (sphere.radius_m**2 - x.square() - y.square()).clamp_(min=0).sqrt_()
        return total

    def slopes(self, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
        """∂t/∂x and ∂t/∂y, steeper and steeper towards the rim."""
        total_x = torch.zeros_like(x_m + y_m)
        total_y = torch.zeros_like(total_x)
        for sphere in self.spheres:
            x, y = self._relative_m(sphere, x_m, y_m)
            factor = round_slope(x.square() + y.square(), sphere.radius_m)
            total_x += factor * x
            total_y += factor * y
        return total_x, total_y

    def _relative_m(
        self, sphere: Sphere, x_m: torch.Tensor, y_m: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        height_m, width_m = self.size_m
        return from_nearest(x_m, sphere.x_m, width_m), from_nearest(y_m, sphere.y_m, height_m)


def random_spheres(
    optics: Optics,
    shape: tuple[int, int],
    generator: torch.Generator,
    made_of: Material,
    count: int = 6,
    radius_m: float | None = None,
) -> SpherePhantom:
    """Equal spheres anywhere in a frame `(H, W)`; their radius is 12 % of its short side if None.

    Raises:
        UsageError: the spheres do not fit into the frame.
    """
    size_m = frame_size_m(optics, shape)
    radius_m = 0.12 * min(size_m) if radius_m is None else radius_m
    draws = torch.rand((count, 2), generator=generator, dtype=torch.float64).tolist()
    spheres = (Sphere(across * size_m[1], down * size_m[0], radius_m) for across, down in draws)
    return SpherePhantom(made_of, tuple(spheres), size_m)
