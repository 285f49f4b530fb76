"""Series in a stream that does not say where one begins or ends."""

from __future__ import annotations


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
