"""Where between its samples a correlation has its maximum."""

from __future__ import annotations

import torch

_TINY = 1e-12


def gaussian_peak(
    scores: torch.Tensor, peak: torch.Tensor, side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vertex (x, y) of a Gaussian through the 3×3 scores around `peak`, and whether there is one.

    It may be tilted: where speckles are oblique, one fit along x and one along y find a movement
    in y that is not there as soon as x is not whole (0.08 px with a window of 15).
    """
    return _vertex([[s.clamp(min=1e-3).log() for s in row] for row in _near(scores, peak, side)])


def quadratic_peak(
    scores: torch.Tensor, peak: torch.Tensor, side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same of a paraboloid."""
    return _vertex(_near(scores, peak, side))


def _near(scores: torch.Tensor, peak: torch.Tensor, side: int) -> list[list[torch.Tensor]]:
    return [[scores.gather(1, peak + side * y + x) for x in (-1, 0, 1)] for y in (-1, 0, 1)]


def _vertex(
    near: list[list[torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of the paraboloid with the central differences of 3×3 values."""
    gx, gy = (near[1][2] - near[1][0]) / 2, (near[2][1] - near[0][1]) / 2
    cxx = near[1][2] - 2 * near[1][1] + near[1][0]
    cyy = near[2][1] - 2 * near[1][1] + near[0][1]
    cxy = (near[2][2] - near[2][0] - near[0][2] + near[0][0]) / 4
    determinant = cxx * cyy - cxy.square()
    vertex = (determinant > 0) & (cxx < 0)
    determinant = determinant.clamp(min=_TINY)
    x, y = (cxy * gy - cyy * gx) / determinant, (cxy * gx - cxx * gy) / determinant
    return x.clamp(-1, 1), y.clamp(-1, 1), vertex & (x.abs() <= 1) & (y.abs() <= 1)
