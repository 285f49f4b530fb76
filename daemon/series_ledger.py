"""Which series are not completely written."""

from __future__ import annotations

import threading
from collections import defaultdict, deque


class SeriesLedger:
    """Follows series from the way in to the closed file; safe to use from every thread.

    Series are announced, and begin, in the same order, so that a mark made at the way in means
    the right ones behind the queue, whatever they are called there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._announced = self._begun = self._closed = 0
        self._expected = False
        self._open: defaultdict[str, deque[int]] = defaultdict(deque)

    def expect(self) -> None:
        """A PV has opened a series, which is announced with its first frame, or its end."""
        with self._lock:
            self._expected = True

    def announce(self) -> None:
        """A series' start is put into the queue to pairing."""
        with self._lock:
            self._announced += 1
            self._expected = False

    def begin(self, name: str) -> None:
        """Pairing has taken it out, and calls the series so from here on."""
        with self._lock:
            self._begun += 1
            self._open[name].append(self._begun)  # the last of this name may not be closed yet

    def close(self, name: str) -> None:
        """Everything of this series is written, and its file, if it has one, is closed."""
        with self._lock:
            if name in self._open:
                self._open[name].popleft()
                self._closed += 1
                if not self._open[name]:
                    del self._open[name]

    @property
    def mark(self) -> int:
        """Stands for all series that have been announced so far, or are expected."""
        with self._lock:
            return self._announced + self._expected

    def is_written(self, mark: int) -> bool:
        """Whether all series before the mark are completely written."""
        with self._lock:
            return self._begun >= mark and all(n[0] > mark for n in self._open.values())

    @property
    def open_count(self) -> int:
        """Series that are not completely written."""
        with self._lock:
            return self._announced + self._expected - self._closed

    @property
    def closed_count(self) -> int:
        """Series completely written."""
        with self._lock:
            return self._closed
