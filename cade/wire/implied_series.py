"""Series in a stream that does not say where one begins or ends."""

from __future__ import annotations

from cade.frames import Frame, SeriesStart


class ImpliedSeries:
    """An image of another source, or with a smaller number than the last, begins a series.

    Args:
        fallback: the name of a series whose source has none.
    """

    def __init__(self, fallback: str) -> None:
        self._fallback = fallback
        self._count = 0
        self._first = 0
        self._last = 0
        self.source: str | None = None
        """Whose series it is; None when none is."""
        self.series_id = ""

    def take(self, source: str, number: int) -> bool:
        """Note an image, and say whether it begins a series."""
        begins = source != self.source or number < self._last
        if begins:
            self._count += 1
            self._first = number
            self.source = source
            self.series_id = f"{source or self._fallback}-{self._count}"
        self._last = number
        return begins

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
