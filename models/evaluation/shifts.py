"""Constant shifts (paper eqs. 4 and 5), small ones and those that need the coarse stage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from models.evaluation.spread import standard_error
from models.evaluation.unseen import shifted_pair
from models.tracker import Tracker
from simulator.seeds import seeded_generator

SHIFTS_PX = tuple(round(0.1 * i, 1) for i in range(11))
REACH_PX = ((0.3, -0.4), (5.5, -3.25), (-12.3, 9.6), (20.0, -20.0))
"""Shifts along x and y of the study of the range: the first is small, for comparison."""
EDGE_PX = 8
"""Left out inside of what can be seen in both frames: its own errors are another matter."""


@dataclass(frozen=True, slots=True)
class ShiftRow:
    """One constant displacement: root mean square error and bias |mean(u) − u_true|, in px.

    `relative_bias` is the paper's eq. 4, the bias over the displacement; it is undefined at zero.
    Errors are standard errors over the patterns.
    """

    shift_px: float
    rmse_px: float
    bias_px: float
    relative_bias: float = math.nan
    rmse_error_px: float = math.nan
    bias_error_px: float = math.nan
    valid_fraction: float = math.nan


@dataclass(frozen=True, slots=True)
class ReachRow:
    """One shift of the whole frame: `epe_px` over the pixels that both frames show."""

    shift_x_px: float
    shift_y_px: float
    epe_px: float
    valid_fraction: float


def shift_study(
    tracker: Tracker,
    patterns: torch.Tensor,
    *,
    counts: float = 1000.0,
    transmission: float = 0.9,
    shifts_px: tuple[float, ...] = SHIFTS_PX,
    seed: int = 6,
) -> list[ShiftRow]:
    """Constant shifts along x (paper eqs. 4 and 5): error over all valid pixels and patterns.

    Each shift has random numbers of its own: a part of the study finds what the whole finds.
    """
    rows = []
    for shift in shifts_px:
        generator = seeded_generator(seed, round(1000 * shift))
        errors, valid = [], []
        for pattern in patterns:
            pair = shifted_pair(pattern, (shift, 0.0), counts, transmission, generator)
            found = tracker.track(*pair)
            errors.append((found.ux_px - shift)[found.valid])
            valid.append(float(found.valid.float().mean()))
        rows.append(_shift_row(shift, errors, sum(valid) / len(valid)))
    return rows


def _shift_row(shift: float, errors: list[torch.Tensor], valid_fraction: float) -> ShiftRow:
    error = torch.cat(errors)
    bias = abs(float(error.mean()))
    return ShiftRow(
        shift_px=shift,
        rmse_px=float(error.square().mean().sqrt()),
        bias_px=bias,
        relative_bias=bias / shift if shift else math.nan,
        rmse_error_px=standard_error([float(e.square().mean().sqrt()) for e in errors]),
        bias_error_px=standard_error([float(e.mean()) for e in errors]),
        valid_fraction=valid_fraction,
    )


def reach_study(
    tracker: Tracker,
    patterns: torch.Tensor,
    *,
    counts: float = 1000.0,
    transmission: float = 0.9,
    shifts_px: tuple[tuple[float, float], ...] = REACH_PX,
    seed: int = 9,
) -> list[ReachRow]:
    """Shifts of the whole frame, as the drift of a stage or a beam makes them."""
    generator = torch.Generator().manual_seed(seed)
    edge = int(max(abs(s) for shift in shifts_px for s in shift)) + EDGE_PX
    inside = (slice(edge, -edge), slice(edge, -edge))
    rows = []
    for x, y in shifts_px:
        errors, valid = [], []
        for pattern in patterns:
            found = tracker.track(*shifted_pair(pattern, (x, y), counts, transmission, generator))
            error = torch.hypot(found.ux_px - x, found.uy_px - y)[inside]
            # A pixel that is called invalid counts as lost: one pixel off.
            errors.append(torch.nan_to_num(error, nan=1.0).mean())
            valid.append(found.valid[inside].float().mean())
        rows.append(
            ReachRow(x, y, float(torch.stack(errors).mean()), float(torch.stack(valid).mean()))
        )
    return rows
