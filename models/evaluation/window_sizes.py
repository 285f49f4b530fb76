"""What the window of a conventional tracker costs and gives: noise against resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from models.evaluation.patches import patch_study
from models.evaluation.shifts import shift_study
from models.evaluation.star import star_profiles, star_row
from models.tracker import Tracker

NO_WINDOW = 0
SHIFTS_PX = (0.3, 0.7)
PATCH_PX = 32


@dataclass(frozen=True, slots=True)
class WindowRow:
    """One window: constant shifts (both together), random maps of 32 px, and the star map.

    `window_px` is 0 for a tracker that has none, measured on the same frames.
    """

    window_px: int
    rmse_px: float
    epe_px: float
    resolution_px: float
    reached: bool
    rmse_error_px: float
    epe_error_px: float
    resolution_error_px: float


@dataclass(frozen=True, slots=True, eq=False)
class WindowFrames:
    """What every window is measured on: unseen patterns, and those of the star map."""

    patterns: torch.Tensor
    star: list[torch.Tensor]
    star_shape: tuple[int, int]


def window_study(
    tracker_of: Callable[[int], Tracker],
    frames: WindowFrames,
    windows_px: Sequence[int],
    *,
    counts: float = 1000.0,
    transmission: float = 0.9,
) -> list[WindowRow]:
    """A row for each window.

    Raises:
        UsageError: a window that is even, or larger than the frames.
    """
    return [_row(window, tracker_of(window), frames, counts, transmission) for window in windows_px]


def _row(
    window: int, tracker: Tracker, frames: WindowFrames, counts: float, transmission: float
) -> WindowRow:
    light: dict[str, Any] = {"counts": counts, "transmission": transmission}
    shifts = shift_study(tracker, frames.patterns, **light, shifts_px=SHIFTS_PX)
    [patch] = patch_study(tracker, frames.patterns, **light, patches_px=(PATCH_PX,))
    star = star_row(star_profiles(tracker, frames.star, frames.star_shape))
    return WindowRow(
        window_px=window,
        rmse_px=math.sqrt(sum(s.rmse_px**2 for s in shifts) / len(shifts)),
        epe_px=patch.epe_px,
        resolution_px=star.resolution_px,
        reached=star.reached,
        rmse_error_px=math.hypot(*(s.rmse_error_px for s in shifts)) / len(shifts),
        epe_error_px=patch.epe_error_px,
        resolution_error_px=star.resolution_error_px,
    )
