"""From no noise to six per cent: constant shifts, and random maps beside the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from models.evaluation.patches import patch_study
from models.evaluation.shifts import shift_study
from models.tracker import Tracker

NOISE = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
"""Relative noise of a pixel, 1/√N0."""
NOISELESS_COUNTS = 1e8
"""Taken for no noise: it is 0.01 %."""
SHIFT_PX = 0.3
PATCH_PX = 32


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """One noise level: a shift of 0.3 px, and random maps with nodes every 32 px."""

    noise: float
    counts: float
    rmse_px: float
    bias_px: float
    epe_px: float
    limit_px: float
    rmse_error_px: float
    epe_error_px: float


def noise_study(
    tracker: Tracker,
    patterns: torch.Tensor,
    *,
    transmission: float = 0.9,
    noise: tuple[float, ...] = NOISE,
) -> list[NoiseRow]:
    """Errors and the limit at each relative noise."""
    rows = []
    for level in noise:
        counts = 1 / level**2 if level else NOISELESS_COUNTS
        light: dict[str, Any] = {"counts": counts, "transmission": transmission}
        [shift] = shift_study(tracker, patterns, **light, shifts_px=(SHIFT_PX,))
        [patch] = patch_study(tracker, patterns, **light, patches_px=(PATCH_PX,))
        rows.append(
            NoiseRow(
                noise=level,
                counts=counts,
                rmse_px=shift.rmse_px,
                bias_px=shift.bias_px,
                epe_px=patch.epe_px,
                limit_px=patch.limit_px,
                rmse_error_px=shift.rmse_error_px,
                epe_error_px=patch.epe_error_px,
            )
        )
    return rows
