"""Samples with analytic truth: the projected thickness of one material in the sample plane.

Positions are in metres in the sample plane, x right and y down, with the centre of detector pixel
[0, 0] at the origin; that of pixel [i, j] is at (j, i)·p/M. The phantoms repeat with the size of
the frame, as the wave field does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from cade.errors import UsageError
from simulator.materials import Material, material
from simulator.optics import Optics

Slopes = tuple[torch.Tensor, torch.Tensor]


class Phantom(Protocol):
    """A sample. `x_m` and `y_m` are positions that broadcast to the shape of the result."""

    @property
    def material(self) -> Material:
        """What it is made of, at the energy of the scan."""

    def thickness_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Thickness t along the beam in m."""

    def slopes(self, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
        """∂t/∂x and ∂t/∂y, analytic, without unit."""


@dataclass(frozen=True, slots=True)
class SinePhantom:
    """The paper's sine phantom (section II-E4): t = A·(1 − cos 2πw(x − left)) on its base.

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
        x = (x_m - hill.x_m + width_m / 2) % width_m - width_m / 2
        y = (y_m - hill.y_m + height_m / 2) % height_m - height_m / 2
        return x / hill.radius_m, y / hill.radius_m


def sine_phantom(optics: Optics, shape: tuple[int, int], periods: int = 2) -> SinePhantom:
    """The paper's sine phantom of alumina in the middle of a frame `(H, W)`.

    Raises:
        UsageError: the frame is narrower than the phantom.
    """
    alumina = material("alumina", optics.energy_ev)
    width_m = shape[1] * optics.geometry.sample_pixel_m
    at_edge = SinePhantom(alumina, 0.0, width_m, periods=periods)
    return replace(at_edge, left_m=(width_m - at_edge.base_m) / 2)


def random_hills(
    optics: Optics,
    shape: tuple[int, int],
    generator: torch.Generator,
    count: int = 6,
    largest_px: float = 0.9,
) -> HillPhantom:
    """Hills of alumina anywhere in a frame `(H, W)`, some of them overlapping.

    Radii are 12 to 22 % of the frame's short side; all heights are scaled so that the largest
    displacement on the detector is `largest_px`.
    """
    pitch_m = optics.geometry.sample_pixel_m
    size_m = (shape[0] * pitch_m, shape[1] * pitch_m)
    draws = torch.rand((count, 4), generator=generator, dtype=torch.float64).tolist()
    hills = []
    for across, down, wide, steep in draws:
        radius_m = (0.12 + 0.1 * wide) * min(size_m)
        height_m = (0.4 + 0.6 * steep) * radius_m
        hills.append(Hill(across * size_m[1], down * size_m[0], radius_m, height_m))
    rough = HillPhantom(material("alumina", optics.energy_ev), tuple(hills), size_m)
    x_m, y_m = (pitch_m * torch.arange(n, dtype=torch.float64) for n in (shape[1], shape[0]))
    steepest = torch.hypot(*rough.slopes(x_m[None, :], y_m[:, None])).max()
    per_slope_px = rough.material.delta * optics.distance_m / optics.pixel_size_m
    scale = largest_px / (per_slope_px * float(steepest))
    return replace(rough, hills=tuple(replace(h, height_m=scale * h.height_m) for h in hills))
