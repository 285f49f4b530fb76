"""Series in a stream that does not say where one begins or ends."""

from __future__ import annotations

import math

from cade.frames import Frame, SeriesStart

LATE_IMAGES = 16
"""An image may come this many numbers too late, or again, without beginning a series."""


class ImpliedSeries:
    """An image of another source, or with a number that goes back, begins a series.

    Not so one that has only been overtaken: a number that the series left out a moment ago is a
    late image of it. A number that has come before is the same image again, unless it is stated to
    be newer than all, or, where no times are stated, is the number that the series began with:
    then the sender counts anew.

    Args:
        fallback: the name of a series whose source has none.
    """

    def __init__(self, fallback: str) -> None:
        self._fallback = fallback
        self._count = 0
        self._first = self._last = self._highest = 0
        self._recent: set[int] = set()
        self._newest_s: float | None = None
        self.source: str | None = None
        """Whose series it is; None when none is."""
        self.series_id = ""

    def take(self, source: str, number: int, stated_s: float | None = None) -> bool:
        """Note an image, and say whether it begins a series.

        Args:
            source: who sends it.
            number: what the sender counts.
            stated_s: when it was taken by the sender's clock, in s since any time.
        """
        begins = source != self.source or self._counts_anew(number, stated_s)
        if begins:
            self._count += 1
            self._first = self._highest = number
            self._recent.clear()
            self._newest_s = None
            self.source = source
            self.series_id = f"{source or self._fallback}-{self._count}"
        self._last = number
        self._highest = max(self._highest, number)
        self._recent.add(number)
        if len(self._recent) > 2 * LATE_IMAGES:
            self._recent = {n for n in self._recent if n >= self._highest - LATE_IMAGES}
        if stated_s is not None:
            self._newest_s = max(stated_s, -math.inf if self._newest_s is None else self._newest_s)
        return begins

    def _counts_anew(self, number: int, stated_s: float | None) -> bool:
        if number >= self._highest:
            return False
        if number < self._first or number < self._highest - LATE_IMAGES:
            return True
        if number not in self._recent:
            return False
        if stated_s is None or self._newest_s is None:
            return number == self._first
        return stated_s > self._newest_s

    def image_id(self) -> int:
        """Number of the last image, from 0 for the first of its series."""
        return self._last - self._first

    def forget(self) -> None:
        """The next image begins a series."""
        self.source = None


def implied_start(first: Frame, *, lossy: bool = False) -> SeriesStart:
    """The start that the first image of a series stands for."""
    return SeriesStart(
        series_id=first.series_id,
        start_time_s=first.timestamp_s,
        shape=(first.data.shape[0], first.data.shape[1]),
        dtype=first.data.dtype.name,
        role=first.role,
        lossy=lossy,
    )
