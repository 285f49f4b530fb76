"""Whether a frame can be used at all, before anything is spent on it."""

from __future__ import annotations

import numpy as np

from cade.frames import Frame, Reason, Rejected, Role
from daemon.settings import CheckSettings


def reject(frame: Frame, reason: Reason, detail: str) -> Rejected:
    """The frame as a counted loss."""
    return Rejected(frame.series_id, frame.image_id, reason, detail, frame.origin)


def check_content(frame: Frame, settings: CheckSettings, role: Role) -> Rejected | None:
    """None for a usable frame, otherwise why it is not: empty, saturated, or too many NaN.

    A dark may be all zero.
    """
    data = frame.data
    if data.dtype.kind == "f":
        finite = np.isfinite(data)
        invalid = 1 - float(np.count_nonzero(finite)) / data.size
        if invalid > settings.max_invalid_fraction:
            detail = f"{invalid:.0%} of the pixels are not numbers"
            return reject(frame, Reason.TOO_MANY_INVALID, detail)
        low, high = data.min(where=finite, initial=np.inf), data.max(where=finite, initial=-np.inf)
    else:
        low, high = data.min(), data.max()
    if not low < high and role is not Role.DARK:
        return reject(frame, Reason.EMPTY, f"every pixel is {low:g}")
    ceiling = _ceiling(frame)
    if ceiling is not None and high >= ceiling:
        share = float(np.count_nonzero(data >= ceiling)) / data.size
        if share > settings.max_saturated_fraction:
            return reject(frame, Reason.SATURATED, f"{share:.0%} of the pixels are at {ceiling:g}")
    return None


def check_form(
    frame: Frame, shape: tuple[int, int], dtype: np.dtype[np.generic]
) -> Rejected | None:
    """None where the frame has the series' shape `(H, W)` and number type."""
    if frame.data.shape != shape:
        detail = f"shape is {frame.data.shape}, the series has {shape}"
        return reject(frame, Reason.WRONG_SHAPE, detail)
    if frame.data.dtype != dtype:
        detail = f"pixels are {frame.data.dtype}, the series has {dtype}"
        return reject(frame, Reason.WRONG_DTYPE, detail)
    return None


def _ceiling(frame: Frame) -> float | None:
    """The value at which pixels saturate: unsigned integers have one even if nobody says it."""
    if frame.saturation_value is not None:
        return frame.saturation_value
    if frame.data.dtype.kind == "u":
        return float(np.iinfo(frame.data.dtype).max)
    return None
