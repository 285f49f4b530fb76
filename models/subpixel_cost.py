"""The minimum of the UMPA cost between whole shifts, by Newton's method on its own spline.

With T and D solved for at every u, cost(u) = Σ w s² − b·G⁻¹b with b = (Σ w m s, Σ w v s) and
G = [[Σ w m², Σ w m v], [Σ w m v, Σ w v²]], m(x − u) the mean of the reference and v(x − u) what is
left of it. What is maximised is the second term, called `explained` here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from models.interpolation_loss import loss_at, noise_loss
from models.lag_sums import NEAR, SIDE

STEPS = 4
MOST_STEP_PX = 0.5
_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class SampleSums:
    """Window sums `(pixels)`: of the weight, of the sample and of its square."""

    weight: torch.Tensor
    sample: torch.Tensor
    square: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class CostMinimum:
    """All `(pixels)`. `x`, `y`: offset from the whole shift in px. `step_px`: still to go.

    `mean`, `contrast`: T and T·D. `cost`, and `power` of what the reference has beside its mean,
    are per unit of weight. `bend_*`: second derivatives of the explained part. `found`: it is a
    maximum of that.
    """

    x: torch.Tensor
    y: torch.Tensor
    step_px: torch.Tensor
    mean: torch.Tensor
    contrast: torch.Tensor
    cost: torch.Tensor
    power: torch.Tensor
    bend_xx: torch.Tensor
    bend_yy: torch.Tensor
    bend_xy: torch.Tensor
    found: torch.Tensor


def minimise(lags: torch.Tensor, sums: SampleSums, loss: torch.Tensor) -> CostMinimum:
    """Minimise the cost of every pixel.

    Args:
        lags: from `models.lag_sums.lag_sums`.
        sums: of the sample.
        loss: window sums of `models.interpolation_loss.power_loss`, `(10, pixels)`. What noise has
            of it, judged by the cost that is left, is not counted.
    """
    x, y = torch.zeros_like(sums.weight), torch.zeros_like(sums.weight)
    noise, white = x, noise_loss(loss)
    for _ in range(STEPS):
        here = _explain(lags, sums, loss - white * (noise * sums.weight), x, y)
        step_x, step_y = _step(here)
        x, y = (x + step_x).clamp(-1, 1), (y + step_y).clamp(-1, 1)
        noise = here.cost.clamp(min=0) / (here.mean.abs() + here.contrast.square()).clamp(min=_TINY)
    here = _explain(lags, sums, loss - white * (noise * sums.weight), x, y)
    step_x, step_y = _step(here)
    return CostMinimum(
        x=x,
        y=y,
        step_px=torch.maximum(step_x.abs(), step_y.abs()),
        mean=here.mean,
        contrast=here.contrast,
        cost=here.cost,
        power=here.power,
        bend_xx=here.bend_xx,
        bend_yy=here.bend_yy,
        bend_xy=here.bend_xy,
        found=_is_maximum(here),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Explained:
    """The fit at one u for every pixel, with the derivatives of the explained part."""

    mean: torch.Tensor
    contrast: torch.Tensor
    cost: torch.Tensor
    power: torch.Tensor
    slope_x: torch.Tensor
    slope_y: torch.Tensor
    bend_xx: torch.Tensor
    bend_yy: torch.Tensor
    bend_xy: torch.Tensor


def _explain(
    lags: torch.Tensor, sums: SampleSums, loss: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> _Explained:
    values = _spline_values(lags, x, y)
    for value, lost in zip(values, loss_at(loss, x, y), strict=True):
        value[4] -= lost
    value, by_x, by_y, by_xx, by_yy, by_xy = values
    ms, vs, mm, mv, vv = value.unbind()
    ms, mm = ms + sums.sample, mm + sums.weight  # m was the local mean less one
    determinant = (mm * vv - mv.square()).clamp(min=_TINY)
    mean = (vv * ms - mv * vs) / determinant
    contrast = (mm * vs - mv * ms) / determinant
    slope_x, rest_x = _derivative(by_x, mean, contrast)
    slope_y, rest_y = _derivative(by_y, mean, contrast)

    def bend(second: torch.Tensor, one: _Pair, other: _Pair) -> torch.Tensor:
        solved = vv * other[0] - mv * other[1], mm * other[1] - mv * other[0]
        inner = one[0] * solved[0] + one[1] * solved[1]
        return _derivative(second, mean, contrast)[0] + 2 * inner / determinant

    weight = sums.weight.clamp(min=_TINY)
    return _Explained(
        mean=mean,
        contrast=contrast,
        cost=(sums.square - mean * ms - contrast * vs) / weight,
        power=determinant / (mm.clamp(min=_TINY) * weight),
        slope_x=slope_x,
        slope_y=slope_y,
        bend_xx=bend(by_xx, rest_x, rest_x),
        bend_yy=bend(by_yy, rest_y, rest_y),
        bend_xy=bend(by_xy, rest_x, rest_y),
    )


_Pair = tuple[torch.Tensor, torch.Tensor]


def _derivative(
    values: torch.Tensor, mean: torch.Tensor, contrast: torch.Tensor
) -> tuple[torch.Tensor, _Pair]:
    """2·θ·∂b − θ·∂G·θ for the fit θ, and ∂b − ∂G·θ, of derivatives `(5, pixels)` of the sums."""
    ms, vs, mm, mv, vv = values.unbind()
    rest_m = ms - mm * mean - mv * contrast
    rest_v = vs - mv * mean - vv * contrast
    return mean * (ms + rest_m) + contrast * (vs + rest_v), (rest_m, rest_v)


def _is_maximum(here: _Explained) -> torch.Tensor:
    return (here.bend_xx < 0) & (here.bend_xx * here.bend_yy > here.bend_xy.square())


def _step(here: _Explained) -> _Pair:
    """Newton's step, nowhere longer than `MOST_STEP_PX`; none where there is no maximum."""
    determinant = here.bend_xx * here.bend_yy - here.bend_xy.square()
    x = here.bend_xy * here.slope_y - here.bend_yy * here.slope_x
    y = here.bend_xy * here.slope_x - here.bend_xx * here.slope_y
    towards = _is_maximum(here)
    x, y = (torch.where(towards, step / determinant, 0.0) for step in (x, y))
    return x.clamp(-MOST_STEP_PX, MOST_STEP_PX), y.clamp(-MOST_STEP_PX, MOST_STEP_PX)


def _spline_values(lags: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    """The sums `(5, pixels)` at an offset, and their derivatives x, y, xx, yy, xy."""
    rows = [_combined(lags.transpose(0, 1), weights) for weights in _splines(x)]
    along_y = _splines(y)
    orders = ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1))
    return [_combined(rows[by_x], along_y[by_y]) for by_x, by_y in orders]


def _combined(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    total = values[0] * weights[0]
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total.addcmul_(value, weight.expand_as(value))
    return total


def _splines(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cubic B-splines `(5, pixels)` around t, within ±1, and their two derivatives by t."""
    node = torch.arange(-NEAR, SIDE - NEAR, device=t.device)[:, None]
    distance = t - node
    outer = (2 - distance.abs()).clamp(min=0)
    inner = (1 - distance.abs()).clamp(min=0)
    value = (outer.pow(3) - 4 * inner.pow(3)) / 6
    slope = distance.sign() * (2 * inner.square() - outer.square() / 2)
    return value, slope, outer - 4 * inner
