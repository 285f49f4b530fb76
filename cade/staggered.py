"""Differences between neighbouring pixels (Southwell's staggered grid), and their adjoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch

ROWS, COLUMNS = -2, -1


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """A value on every pair of neighbours: `x` `(N, H, W−1)` along columns, `y` `(N, H−1, W)`."""

    x: torch.Tensor
    y: torch.Tensor

    def scale_(self, factors: Edges) -> Edges:
        """Multiply in place: large temporaries cost more time on a CPU than the arithmetic."""
        self.x.mul_(factors.x)
        self.y.mul_(factors.y)
        return self

    def adjoint(self) -> torch.Tensor:
        """Dᵀ of the values, `(N, H, W)`: what flows into each pixel minus what flows out."""
        n, height, columns = self.x.shape
        total = self.x.new_zeros((n, height, columns + 1))
        for values, dim in ((self.x, COLUMNS), (self.y, ROWS)):
            length = total.shape[dim]
            total.narrow(dim, 1, length - 1).add_(values)
            total.narrow(dim, 0, length - 1).sub_(values)
        return total


def differences(phi: torch.Tensor) -> Edges:
    """D φ: the later minus the earlier pixel of every pair."""
    return Edges(phi.diff(dim=COLUMNS), phi.diff(dim=ROWS))


def edge_weights(weights: torch.Tensor) -> Edges:
    """The harmonic mean of the two pixels' weights.

    With weights 1/σ² this is, up to a factor, the reciprocal variance of the two pixels' average;
    it is zero where either pixel is invalid.
    """
    return Edges(_harmonic(weights, COLUMNS), _harmonic(weights, ROWS))


def _harmonic(weights: torch.Tensor, dim: int) -> torch.Tensor:
    first, second = _pairs(weights, dim)
    total = first + second
    return (2 * first * second / total).masked_fill_(total == 0, 0)


def integrals(x: torch.Tensor, y: torch.Tensor, valid: torch.Tensor | None) -> Edges:
    """The integral of the derivatives from each pixel to the next, `x`, `y` `(N, H, W)` per pixel.

    The plain average of Southwell is the trapezoidal rule, with an error of −f''/12. Here f'' is
    taken from the second differences at both ends, which makes the error fourth order:
    (−f₀ + 13 f₁ + 13 f₂ − f₃)/24; at the border or beside a hole from the one end that has both
    neighbours, (5 f₁ + 8 f₂ − f₃)/12, third order; the plain average remains where neither has.

    Args:
        x: derivative along columns, finite.
        y: derivative along rows, finite.
        valid: `(N, H, W)` bool, or None where all pixels are.
    """
    return Edges(_integral(x, valid, COLUMNS), _integral(y, valid, ROWS))


def _integral(slope: torch.Tensor, valid: torch.Tensor | None, dim: int) -> torch.Tensor:
    first, second = _pairs(slope, dim)
    average = (first + second) / 2
    length = slope.shape[dim]
    if length < 3:
        return average
    curvature = torch.zeros_like(slope)
    curvature.narrow(dim, 1, length - 2).copy_(slope.diff(n=2, dim=dim))
    known = _known(slope, valid, dim)
    at_first, at_second = _pairs(curvature.mul_(known), dim)
    first_known, second_known = _pairs(known, dim)
    ends = (first_known + second_known).clamp_(min=1)
    return average.sub_((at_first + at_second).div_(12 * ends))


def _known(slope: torch.Tensor, valid: torch.Tensor | None, dim: int) -> torch.Tensor:
    """1 where the pixel and both its neighbours along `dim` are valid, else 0; broadcastable."""
    length = slope.shape[dim]
    if valid is None:
        shape = [1] * slope.ndim
        shape[dim] = length
        valid = torch.ones(shape, dtype=torch.bool, device=slope.device)
    known = torch.zeros_like(valid)
    three = [valid.narrow(dim, start, length - 2) for start in range(3)]
    known.narrow(dim, 1, length - 2).copy_(three[0] & three[1] & three[2])
    return known.to(slope.dtype)


def _pairs(values: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = values.shape[dim] - 1
    return values.narrow(dim, 0, pairs), values.narrow(dim, 1, pairs)
