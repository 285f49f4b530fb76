"""Which pixel values are no measurement: saturated ones, and the detector's marks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cade.frames import Frame, Image

WHOLE = (slice(None), slice(None))


@dataclass(frozen=True, slots=True)
class Limits:
    """Values from `saturation_value` on, and below `invalid_below`, are invalid; in counts.

    Without a `saturation_value` that of the frame holds. The largest value of an unsigned type is
    never a measurement: cameras clip there, DECTRIS detectors mark masked and dead pixels by it.
    """

    saturation_value: float | None = None
    invalid_below: float | None = None

    def ceiling(self, frame: Frame) -> float | int | None:
        """The least value that is too large, exact in the frame's number type; None = none is."""
        value = frame.saturation_value if self.saturation_value is None else self.saturation_value
        dtype = frame.data.dtype
        if dtype.kind == "f" or value is None:
            return int(np.iinfo(dtype).max) if dtype.kind == "u" else value
        most = int(np.iinfo(dtype).max)
        least = math.ceil(value)
        return min(least, most) if dtype.kind == "u" else least

    def mark(self, frame: Frame) -> int | None:
        """The value by which the detector marks pixels without data, where it says what saturates.

        DECTRIS states the largest *valid* value, and writes the largest of the type in gaps and
        bad pixels; elsewhere the two cannot be told apart.
        """
        dtype, stated = frame.data.dtype, frame.saturation_value
        if dtype.kind != "u" or stated is None or self.saturation_value is not None:
            return None
        most = int(np.iinfo(dtype).max)
        return most if stated < most else None

    def marked(self, frame: Frame, part: tuple[slice, slice] = WHOLE) -> Image:
        """Pixels `(H, W)` of a part, as floats with NaN where any is invalid, else as they are.

        What is compared are the detector's own integers: as float32 large ones are all alike.
        """
        data, ceiling, floor = frame.data[part], self.ceiling(frame), self.invalid_below
        invalid = np.zeros((0, 0), np.bool_)
        if ceiling is not None and highest(data) >= ceiling:
            invalid = data >= ceiling
        if floor is not None and lowest(data) < floor:
            below = data < floor
            invalid = invalid | below if invalid.size else below
        if not invalid.size:
            return data
        marked = data.astype(np.float64 if data.dtype.itemsize > 2 else np.float32)
        marked[invalid] = np.nan
        return marked


NO_LIMITS = Limits()


def highest(data: Image) -> Any:
    """The largest value that is a number; NaN where there is none."""
    return np.fmax.reduce(data, axis=None) if data.dtype.kind == "f" else data.max()


def lowest(data: Image) -> Any:
    """The smallest value that is a number; NaN where there is none."""
    return np.fmin.reduce(data, axis=None) if data.dtype.kind == "f" else data.min()
