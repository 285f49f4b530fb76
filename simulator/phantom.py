"""Samples with analytic truth: the projected thickness of one material in the sample plane.

Positions are in metres in the sample plane, x right and y down, with the centre of detector pixel
[0, 0] at the origin; that of pixel [i, j] is at (j, i)·p/M. Phantoms repeat with the size of the
frame, as the wave field does.
"""

from __future__ import annotations

from typing import Protocol

import torch

from simulator.materials import Material
from simulator.optics import Optics

Slopes = tuple[torch.Tensor, torch.Tensor]


class Phantom(Protocol):
    """A frozen value. `x_m` and `y_m` are positions that broadcast to the shape of the result."""

    def __hash__(self) -> int:
        """Of its content, or of the object."""

    @property
    def material(self) -> Material:
        """What it is made of, at the energy of the scan."""

    def thickness_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Thickness t along the beam in m."""

    def slopes(self, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
        """∂t/∂x and ∂t/∂y, analytic, without unit."""


def frame_size_m(optics: Optics, shape: tuple[int, int]) -> tuple[float, float]:
    """Height and width in the sample plane of a frame `(H, W)`, with which phantoms repeat."""
    return shape[0] * optics.geometry.sample_pixel_m, shape[1] * optics.geometry.sample_pixel_m


def from_nearest(position_m: torch.Tensor, centre_m: float, period_m: float) -> torch.Tensor:
    """How far positions are from the nearest repetition of a centre, −period/2 … period/2."""
    return (position_m - centre_m + period_m / 2) % period_m - period_m / 2


def round_slope(r2_m2: torch.Tensor, radius_m: float) -> torch.Tensor:
    """Slope of t = 2·√(R² − r²) over the position, in 1/m: zero outside, finite at the rim."""
    root_m = (radius_m**2 - r2_m2).clamp(min=0).sqrt()
    return -2 / root_m.clamp(min=1e-6 * radius_m) * (root_m > 0)
