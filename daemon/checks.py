"""Whether a frame can be used at all, before anything is spent on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cade.frames import Frame, Image, Reason, Rejected, Role
from daemon.correction.detector import Detector
from daemon.correction.pixel_limits import Limits, highest
from daemon.settings import CheckSettings

PLAIN = Detector()
"""A detector of which nothing is known: all of the frame counts."""
Pixels = NDArray[np.bool_]


def reject(frame: Frame, reason: Reason, detail: str) -> Rejected:
    """The frame as a counted loss."""
    return Rejected(frame.series_id, frame.image_id, reason, detail, frame.origin)


def check_content(
    frame: Frame, settings: CheckSettings, role: Role, detector: Detector = PLAIN
) -> Rejected | None:
    """None for a usable frame, otherwise why it is not: empty, saturated, or too many invalid.

    What counts is the detector's region of interest without its bad pixels. A dark may be all zero.
    """
    shape = (frame.data.shape[0], frame.data.shape[1])
    misfit = detector.problem(shape)
    if misfit:
        return reject(frame, Reason.WRONG_SHAPE, misfit)
    data = frame.data[detector.mounting.part(shape)]
    bad, limits = detector.bad(shape), detector.limits
    count = data.size if bad is None else data.size - int(np.count_nonzero(bad))
    unknown = _unknown(data, frame, limits)
    invalid = 0.0 if unknown is None else _count(unknown, bad) / count
    if invalid > settings.max_invalid_fraction:
        what = "not numbers" if data.dtype.kind == "f" else "marked as invalid"
        return reject(frame, Reason.TOO_MANY_INVALID, f"{invalid:.0%} of the pixels are {what}")
    left_out = unknown if bad is None or unknown is None else unknown | bad
    only = _only_value(data, bad if left_out is None else left_out)
    if only and role is not Role.DARK:
        return reject(frame, Reason.EMPTY, f"every pixel is {only}")
    ceiling = limits.ceiling(frame)
    if ceiling is not None and highest(data) >= ceiling:
        share = _count(data >= ceiling, bad if left_out is None else left_out) / count
        if share > settings.max_saturated_fraction:
            detail = f"{share:.0%} of the pixels are at {float(ceiling):g}"
            return reject(frame, Reason.SATURATED, detail)
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


def _unknown(data: Image, frame: Frame, limits: Limits) -> Pixels | None:
    """What is no number, or marked as no measurement; None where nothing is."""
    if data.dtype.kind == "f":
        unknown: Pixels = ~np.isfinite(data)
        if limits.invalid_below is not None:
            unknown |= data < limits.invalid_below
        return unknown if unknown.any() else None
    mark = limits.mark(frame)
    found = data == mark if mark is not None and data.max() == mark else None
    if limits.invalid_below is not None and data.min() < limits.invalid_below:
        below = data < limits.invalid_below
        found = below if found is None else found | below
    return found


def _count(pixels: Pixels, without: Pixels | None) -> int:
    return int(np.count_nonzero(pixels if without is None else pixels & ~without))


def _only_value(data: Image, without: Pixels | None) -> str:
    """The value that all pixels have; empty where there are several."""
    if without is None:
        low, high = data.min(), data.max()
        return "" if low < high else f"{low:g}"
    # Some of them nearly always tell, in no time.
    for step in (max(1, min(data.shape) // 64), 1):
        values = data[::step, ::step][~without[::step, ::step]]
        if values.size and values.min() < values.max():
            return ""
    return f"{values[0]:g}" if values.size else "invalid"
