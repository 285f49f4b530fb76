"""A user's own pair of frames: errors where the truth is known, and proxies where it is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cade.displacement import Displacement
from cade.errors import CadeError, UsageError
from models.tracker import Tracker

YARDSTICK_WINDOW_PX = 25
LEAST_VISIBILITY = 0.01
"""Of what neighbouring pixels share: noise, which they do not, is no speckle."""
LEAST_VALID = 0.01
"""Share of pixels below which a tracker has found nothing to compare."""
BLOCK_PX = 64
_BACKGROUND_PX = 32
_MOSTLY = 0.5
TRUTH_KEYS = ("ux_px", "uy_px")

Found = Displacement[torch.Tensor]
Region = tuple[int, int, int, int]
"""Rows from y0 to before y1, columns from x0 to before x1: `(y0, y1, x0, x1)`."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Reference and sample `(H, W)`, corrected; truth `(2, H, W)` or None, NaN where unknown.

    `free` is the region without sample, None = not known.
    """

    reference: torch.Tensor
    sample: torch.Tensor
    truth_px: torch.Tensor | None = None
    free: Region | None = None


@dataclass(frozen=True, slots=True)
class PairRow:
    """One tracker on the pair, in px; NaN where truth, yardstick or region are missing.

    `to_*` is the robust standard deviation of the difference to that tracker at window 25, `free_*`
    that of the displacement in the region without sample. EPE counts invalid pixels as 1 px off.
    """

    valid_fraction: float
    rmse_x_px: float
    rmse_y_px: float
    bias_x_px: float
    bias_y_px: float
    epe_px: float
    to_zncc_x_px: float
    to_zncc_y_px: float
    to_umpa_x_px: float
    to_umpa_y_px: float
    free_x_px: float
    free_y_px: float


def check_pair(pair: Pair) -> None:
    """Refuse frames that no tracker could use, and truth that does not belong to them.

    Raises:
        UsageError: shapes that differ, or a region outside of the frame.
        CadeError: no speckle.
    """
    shape = tuple(pair.sample.shape)
    if tuple(pair.reference.shape) != shape:
        raise UsageError(
            f"--pair: reference {tuple(pair.reference.shape)} and sample {shape} do not match"
        )
    if pair.truth_px is not None and tuple(pair.truth_px.shape[1:]) != shape:
        raise UsageError(
            f"--truth: fields of {tuple(pair.truth_px.shape[1:])} do not belong to frames of "
            f"{shape}; cut or bin them alike"
        )
    if pair.free is not None:
        y0, y1, x0, x1 = pair.free
        if not (0 <= y0 < y1 <= shape[0] and 0 <= x0 < x1 <= shape[1]):
            raise UsageError(f"--free-air: {pair.free} is no region of frames of {shape}")
    for role, frame in (("reference", pair.reference), ("sample", pair.sample)):
        visibility = speckle_visibility(frame)
        if not visibility >= LEAST_VISIBILITY:
            raise CadeError(
                f"--pair: the {role} shows no speckle: beyond noise its visibility is "
                f"{visibility:.2%}, at least {LEAST_VISIBILITY:.0%} is needed; use frames taken "
                f"with the diffuser in the beam"
            )


def speckle_visibility(frame: torch.Tensor) -> float:
    """Standard deviation over mean of what a pixel shares with its neighbours.

    The beam's profile is divided out first. 0 where nothing is shared or there is no light.
    """
    known = torch.isfinite(frame)
    light = torch.where(known, frame, 0.0).double()
    reach = min(_BACKGROUND_PX, min(frame.shape) // 4)
    # Only where the window is whole: it then leaves nothing of a slope.
    total, weight = (
        torch.nn.functional.avg_pool2d(part[None, None], 2 * reach + 1, 1)[0, 0]
        for part in (light, known.double())
    )
    inner = (slice(reach, frame.shape[0] - reach), slice(reach, frame.shape[1] - reach))
    known, light = known[inner], light[inner]
    mean = total / weight.clamp(min=1e-12)
    lit = known & (mean > 0.02 * float(light.mean())) & (mean > 0)
    if not bool(lit.any()):
        return 0.0
    rest = torch.where(lit, light / mean.clamp(min=1e-300) - 1, 0.0)
    shared = 0.5 * ((rest[:, 1:] * rest[:, :-1]).mean() + (rest[1:] * rest[:-1]).mean())
    return math.sqrt(max(0.0, float(shared / lit.double().mean())))


def pair_row(found: Found, pair: Pair, yardsticks: dict[str, Found]) -> PairRow:
    """What a tracker found, judged; `yardsticks` are the fields of `zncc` and `umpa`."""
    rmse, bias, epe_px = _against_truth(found, pair.truth_px)
    to_zncc = _difference(found, yardsticks.get("zncc"))
    to_umpa = _difference(found, yardsticks.get("umpa"))
    free = (math.nan, math.nan)
    if pair.free is not None:
        y0, y1, x0, x1 = pair.free
        free = (robust_std(found.ux_px[y0:y1, x0:x1]), robust_std(found.uy_px[y0:y1, x0:x1]))
    return PairRow(
        valid_fraction=float(found.valid.float().mean()),
        rmse_x_px=rmse[0],
        rmse_y_px=rmse[1],
        bias_x_px=bias[0],
        bias_y_px=bias[1],
        epe_px=epe_px,
        to_zncc_x_px=to_zncc[0],
        to_zncc_y_px=to_zncc[1],
        to_umpa_x_px=to_umpa[0],
        to_umpa_y_px=to_umpa[1],
        free_x_px=free[0],
        free_y_px=free[1],
    )


def tracked(tracker: Tracker, pair: Pair, label: str) -> Found:
    """The displacement of the pair.

    Raises:
        CadeError: nearly nothing is valid.
    """
    found = tracker.track(pair.reference, pair.sample)
    share = float(found.valid.float().mean())
    if share < LEAST_VALID:
        raise CadeError(
            f"--pair: {label} finds {share:.2%} of the pixels valid: the sample does not show the "
            f"speckle of this reference, or it has moved further than the tracker searches"
        )
    return found


def flattest_block(fields: Sequence[Found], block_px: int = BLOCK_PX) -> Region:
    """Where the displacement varies least in the worst of the fields: most probably no sample.

    One field alone would do where a large window smooths a fine sample away.
    """
    height, width = fields[0].valid.shape
    step = min(block_px, height, width)
    best, where = math.inf, (0, step, 0, step)
    for top in range(0, height - step + 1, step):
        for left in range(0, width - step + 1, step):
            piece = (slice(top, top + step), slice(left, left + step))
            spread = max(_spread(found, piece) for found in fields)
            if spread < best:
                best, where = spread, (top, top + step, left, left + step)
    return where


def _spread(found: Found, piece: tuple[slice, slice]) -> float:
    """Of both components together; infinite where much is invalid."""
    if float(found.valid[piece].float().mean()) < _MOSTLY:
        return math.inf
    return robust_std(found.ux_px[piece]) + robust_std(found.uy_px[piece])


def robust_std(values: torch.Tensor) -> float:
    """1.4826 times the median absolute deviation of the finite values, NaN if there are none."""
    values = values[values.isfinite()]
    if not len(values):
        return math.nan
    return 1.4826 * float((values - values.median()).abs().median())


def read_truth(path: Path) -> torch.Tensor:
    """`(2, H, W)` from an .npz file with `ux_px` and `uy_px`, in the sign of `Displacement`.

    Raises:
        UsageError: not such a file, or fields that are not two images of real numbers.
    """
    try:
        with path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            missing = [key for key in TRUTH_KEYS if key not in getattr(file, "files", ())]
            if missing:
                raise UsageError(
                    f"--truth {path}: has no {' and no '.join(missing)}; an .npz file with both "
                    f"is needed, in px, positive where the speckle moved right and down"
                )
            fields: list[NDArray[Any]] = [np.asarray(file[key]) for key in TRUTH_KEYS]
    except FileNotFoundError:
        raise UsageError(f"--truth {path}: does not exist") from None
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - numpy and zipfile raise anything on damaged bytes
        kind = type(error).__name__
        raise UsageError(f"--truth {path}: is not an .npz file of numbers ({kind})") from None
    if any(f.dtype.kind not in "fiu" or f.ndim != 2 for f in fields) or (
        fields[0].shape != fields[1].shape
    ):
        raise UsageError(
            f"--truth {path}: ux_px and uy_px must be two images (H, W) of real numbers, not "
            f"{fields[0].shape} {fields[0].dtype} and {fields[1].shape} {fields[1].dtype}"
        )
    return torch.from_numpy(np.stack(fields).astype(np.float32))


def _against_truth(
    found: Found, truth: torch.Tensor | None
) -> tuple[list[float], list[float], float]:
    """RMSE and bias of both components over valid pixels, and the end-point error."""
    if truth is None:
        return [math.nan] * 2, [math.nan] * 2, math.nan
    error = torch.stack([found.ux_px, found.uy_px]) - truth
    known = truth.isfinite().all(dim=0)
    valid = error[:, known & found.valid]
    rmse = valid.square().mean(dim=1).sqrt().tolist()
    bias = valid.mean(dim=1).abs().tolist()
    counted = torch.nan_to_num(error, nan=1.0)[:, known]
    return rmse, bias, float(counted.square().sum(dim=0).sqrt().mean())


def _difference(found: Found, yardstick: Found | None) -> tuple[float, float]:
    if yardstick is None:
        return math.nan, math.nan
    return (
        robust_std(found.ux_px - yardstick.ux_px),
        robust_std(found.uy_px - yardstick.uy_px),
    )
