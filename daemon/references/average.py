"""The average of reference frames: running mean and variance, one frame in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from cade.errors import CadeError
from cade.frames import Image
from daemon.correction.monitor import usable


@dataclass(frozen=True, slots=True, eq=False)
class Average:
    """Mean and variance of `count` frames, both `(H, W)` float32, in counts and counts².

    `variance` is that of a single frame (divisor count − 1), NaN for one frame: unknown.
    `left_out` names frames that are not in it because they were unlike the others. `monitor` is the
    mean of those of its frames, as far as they have a usable one.
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    count: int
    left_out: tuple[str, ...] = ()
    monitor: float | None = None


class RunningAverage:
    """Sums images `(H, W)` in float64, one at a time (Welford, Technometrics 4 (1962) 419)."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = self._squares = np.empty((0, 0))
        self._monitors: list[float] = []

    def add(self, frame: Image, monitor: float | None = None) -> None:
        """Take a frame. A pixel that is NaN in one frame is NaN in the mean.

        Raises:
            CadeError: something that is no image, or of another shape than those before.
        """
        check_image(frame, self.count, self._mean.shape)
        if self.count == 0:
            self._mean, self._squares = np.zeros(frame.shape), np.zeros(frame.shape)
        self.count += 1
        value = usable(monitor)
        if value is not None:
            self._monitors.append(value)
        with np.errstate(invalid="ignore"):  # infinities become NaN
            step = frame - self._mean
            self._mean += step / self.count
            self._squares += step * (frame - self._mean)

    def result(self) -> Average:
        """The average of all frames so far.

        Raises:
            CadeError: there were none.
        """
        if self.count == 0:
            raise CadeError("reference: there are no frames to average; name at least one file")
        several = self.count > 1
        variance = self._squares / (self.count - 1) if several else self._squares * np.nan
        monitor = fmean(self._monitors) if self._monitors else None
        return Average(
            self._mean.astype(np.float32),
            variance.astype(np.float32),
            self.count,
            monitor=monitor,
        )


def check_image(frame: Image, index: int, shape: tuple[int, ...]) -> None:
    """Whether a frame can follow `index` others of a shape.

    Raises:
        CadeError: it is no image, or of another shape.
    """
    if frame.ndim != 2 or frame.size == 0 or frame.dtype.kind not in "uif":
        raise CadeError(
            f"reference: frame {index} is not an image but {frame.dtype} of shape {frame.shape}; "
            "leave it out"
        )
    if index and frame.shape != shape:
        raise CadeError(
            f"reference: frame {index} has shape {frame.shape}, those before it {shape}; average "
            "frames of one shape only"
        )
