"""The average of reference frames without those that are unlike the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cade.frames import Image
from daemon.references.average import Average, RunningAverage, check_image

LEAST_FRAMES = 5
"""Fewer frames cannot say which of them is the odd one."""
SIDE = 64
"""A frame is judged by at most SIDE × SIDE of its pixels, spread over it."""
LEVEL_SHARE = 0.1
"""A mean that differs less than this from the others' is the beam's decay, not an accident."""
LEAST_DISTANCE = 0.01
"""A pattern this near (as a share of its mean) is the same one, however equal the others are."""
TIMES_USUAL = 1.5
SPREADS = 6.0
"""Further than so many robust standard deviations from the others is unlike them."""
_TO_SIGMA = 1.4826  # of the median absolute deviation
_QUARTILE_TO_SIGMA = 0.8693


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A frame that is not in the average, and why."""

    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}"


class ScreenedAverage:
    """A `RunningAverage` that leaves out frames unlike the others.

    The first five frames are kept until they can be judged together, later ones are judged as
    they come, by their mean and by how far the pattern, divided by its mean, is from the others'.
    So a frame without beam, with the shutter half open, or from before the diffuser stood still
    does not spoil a reference. Fewer than five are averaged as they are.
    """

    def __init__(self) -> None:
        self._running = RunningAverage()
        self._undecided: list[tuple[str, Image, float | None]] = []
        self._shape: tuple[int, ...] = ()
        self._pattern = np.empty((0, 0))  # mean of the accepted ones'
        self._levels: list[float] = []
        self._distances: list[float] = []
        self._left_out: list[LeftOut] = []

    @property
    def taken(self) -> int:
        """Frames so far, with those left out."""
        return self.count + len(self._left_out)

    @property
    def count(self) -> int:
        """Frames so far, without those left out."""
        return self._running.count + len(self._undecided)

    def add(self, frame: Image, name: str, monitor: float | None = None) -> list[LeftOut]:
        """Take a frame `(H, W)`; returns those that are now known to be left out.

        Raises:
            CadeError: something that is no image, or of another shape than those before.
        """
        check_image(frame, self.count, self._shape)
        self._shape = frame.shape
        if self._levels:
            return self._judge(name, frame, monitor)
        self._undecided.append((name, frame, monitor))
        return self._judge_first() if len(self._undecided) == LEAST_FRAMES else []

    def result(self) -> Average:
        """The average, with the names of what was left out.

        Raises:
            CadeError: there were no frames.
        """
        for _, frame, monitor in self._undecided:
            self._running.add(frame, monitor)
        self._undecided = []
        return replace(self._running.result(), left_out=tuple(map(str, self._left_out)))

    def _judge_first(self) -> list[LeftOut]:
        """Each against its second nearest: up to two odd ones of five do not move the others."""
        frames, self._undecided = self._undecided, []
        levels, patterns = zip(*(_seen(frame) for _, frame, _ in frames), strict=True)
        distances = [
            sorted(_distance(one, other) for other in patterns if other is not one)[1]
            / math.sqrt(2)
            for one in patterns
        ]
        odd = []
        for (name, frame, monitor), level, pattern, distance in zip(
            frames, levels, patterns, distances, strict=True
        ):
            problem = _problem(level, levels, distance, distances)
            if problem:
                odd.append(LeftOut(name, problem))
            else:
                self._running.add(frame, monitor)
                self._accept(level, pattern, distance)
        self._left_out += odd
        return odd

    def _judge(self, name: str, frame: Image, monitor: float | None) -> list[LeftOut]:
        level, pattern = _seen(frame)
        # The mean of n frames has noise as well, of which the distances do not speak.
        distance = _distance(pattern, self._pattern) / math.sqrt(1 + 1 / len(self._levels))
        problem = _problem(level, self._levels, distance, self._distances)
        if problem:
            odd = LeftOut(name, problem)
            self._left_out.append(odd)
            return [odd]
        self._running.add(frame, monitor)
        self._accept(level, pattern, distance)
        return []

    def _accept(self, level: float, pattern: NDArray[np.float64], distance: float) -> None:
        self._levels.append(level)
        self._distances.append(distance)
        count = len(self._levels)
        self._pattern = pattern if count == 1 else self._pattern + (pattern - self._pattern) / count


def screened_average(frames: Iterable[tuple[str, Image]]) -> Average:
    """Average named images `(H, W)`, a few in memory at a time; raises as `ScreenedAverage`."""
    running = ScreenedAverage()
    for name, frame in frames:
        running.add(frame, name)
    return running.result()


def _seen(frame: Image) -> tuple[float, NDArray[np.float64]]:
    """The mean of some of a frame's pixels without its extremes, and these pixels divided by it."""
    step_y, step_x = (-(-length // SIDE) for length in frame.shape)
    some = frame[::step_y, ::step_x].astype(np.float64)
    values = some[np.isfinite(some)]
    level = float(values.clip(*np.percentile(values, (1, 99))).mean()) if values.size else 0.0
    with np.errstate(invalid="ignore"):
        return level, some / (level or 1.0)


def _distance(pattern: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Standard deviation of the difference, by its upper quartile.

    A few hot pixels do not count, half a frame of another pattern does.
    """
    with np.errstate(invalid="ignore"):
        apart = np.abs(pattern - other)
    apart = apart[np.isfinite(apart)]
    return float(np.percentile(apart, 75)) * _QUARTILE_TO_SIGMA if apart.size else 0.0


def _problem(
    level: float, levels: Sequence[float], distance: float, distances: Sequence[float]
) -> str:
    """Why a frame is unlike the others, empty where it is like them."""
    usual, spread = _usual(levels)
    if abs(level - usual) > max(SPREADS * spread, LEVEL_SHARE * abs(usual)):
        return f"its mean is {level:.4g} counts, that of the others {usual:.4g}"
    usual, spread = _usual(distances)
    if distance > max(usual + SPREADS * spread, TIMES_USUAL * usual, LEAST_DISTANCE):
        return f"its pattern is {distance:.3g} of the mean away, the others {usual:.3g}"
    return ""


def _usual(values: Sequence[float]) -> tuple[float, float]:
    """Median and robust standard deviation."""
    middle = float(np.median(values))
    return middle, float(np.median(np.abs(np.subtract(values, middle)))) * _TO_SIGMA
