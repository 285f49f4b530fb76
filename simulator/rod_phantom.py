"""Rods: cylinders across the beam at any angle, with round ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cade.errors import UsageError
from simulator.materials import Material
from simulator.optics import Optics
from simulator.phantom import Slopes, frame_size_m, from_nearest, round_slope


@dataclass(frozen=True, slots=True)
class Rod:
    """A cylinder around an axis of `length_m`, with half a sphere at each end.

    `angle_rad` is from the x axis (right) towards the y axis (down).
    """

    x_m: float
    y_m: float
    radius_m: float
    length_m: float
    angle_rad: float

    @property
    def direction(self) -> tuple[float, float]:
        """Unit vector (x, y) along the axis."""
        return math.cos(self.angle_rad), math.sin(self.angle_rad)

    def extent_m(self) -> tuple[float, float]:
        """Size of its shadow along y and x."""
        along_x, along_y = (abs(c) * self.length_m + 2 * self.radius_m for c in self.direction)
        return along_y, along_x


@dataclass(frozen=True, slots=True)
class RodPhantom:
    """Rods of one material, t = 2·√(R² − s²) at the distance s from the axis.

    Where rods cross in projection their thicknesses add.

    Raises:
        UsageError: a rod is none, or does not fit into the frame.
    """

    material: Material
    rods: tuple[Rod, ...]
    size_m: tuple[float, float]
    """Height and width of the frame, with which the phantom repeats."""

    def __post_init__(self) -> None:
        for rod in self.rods:
            fits = all(e <= size for e, size in zip(rod.extent_m(), self.size_m, strict=True))
            if not (rod.radius_m > 0 and rod.length_m >= 0 and fits):
                raise UsageError(
                    f"rods: a radius of {rod.radius_m * 1e6:.4g} µm and a length of "
                    f"{rod.length_m * 1e6:.4g} µm do not fit into a frame of "
                    f"{self.size_m[0] * 1e6:.0f} × {self.size_m[1] * 1e6:.0f} µm"
                )

    def thickness_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Thickness in m."""
        total = torch.zeros_like(x_m + y_m)
        for rod in self.rods:
            x, y = self._from_axis_m(rod, x_m, y_m)
            total += 2 * (rod.radius_m**2 - x.square() - y.square()).clamp_(min=0).sqrt_()
        return total

    def slopes(self, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
        """∂t/∂x and ∂t/∂y, steeper and steeper towards the rim."""
        total_x = torch.zeros_like(x_m + y_m)
        total_y = torch.zeros_like(total_x)
        for rod in self.rods:
            x, y = self._from_axis_m(rod, x_m, y_m)
            factor = round_slope(x.square() + y.square(), rod.radius_m)
            total_x += factor * x
            total_y += factor * y
        return total_x, total_y

    def _from_axis_m(
        self, rod: Rod, x_m: torch.Tensor, y_m: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The vector from the nearest point of the axis."""
        height_m, width_m = self.size_m
        x, y = from_nearest(x_m, rod.x_m, width_m), from_nearest(y_m, rod.y_m, height_m)
        along_x, along_y = rod.direction
        along_m = (x * along_x + y * along_y).clamp_(-rod.length_m / 2, rod.length_m / 2)
        return x - along_m * along_x, y - along_m * along_y


def random_rods(
    optics: Optics,
    shape: tuple[int, int],
    generator: torch.Generator,
    made_of: Material,
    count: int = 4,
    radius_m: float | None = None,
    angle_rad: float | None = None,
) -> RodPhantom:
    """Equal rods side by side in a frame `(H, W)`, half as long as its short side.

    Their radius is 6 % of the short side if None, their angles are random if None.

    Raises:
        UsageError: the rods do not fit into the frame.
    """
    size_m = frame_size_m(optics, shape)
    radius_m = 0.06 * min(size_m) if radius_m is None else radius_m
    turns = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
    rods = (
        Rod(
            x_m=(index + 0.5) / count * size_m[1],
            y_m=size_m[0] / 2,
            radius_m=radius_m,
            length_m=0.5 * min(size_m),
            angle_rad=math.pi * turn if angle_rad is None else angle_rad,
        )
        for index, turn in enumerate(turns)
    )
    return RodPhantom(made_of, tuple(rods), size_m)
