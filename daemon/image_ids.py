"""Which images have come: a set of whole numbers, kept as the few runs that they form."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator


class ImageIds:
    """A set of numbers from 0 that mostly follow one another.

    A series of a million images without a gap takes as much memory as one of two.
    """

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []  # the number behind the last one of each run
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        run = bisect_right(self._firsts, number) - 1
        return run >= 0 and number < self._ends[run]

    @property
    def end(self) -> int:
        """The number behind the highest one; 0 where there is none."""
        return self._ends[-1] if self._ends else 0

    def add(self, number: int) -> bool:
        """Add a number, and say whether it is new."""
        run = bisect_right(self._firsts, number) - 1
        if run >= 0 and number < self._ends[run]:
            return False
        self._count += 1
        joins = run >= 0 and self._ends[run] == number
        meets = run + 1 < len(self._firsts) and self._firsts[run + 1] == number + 1
        if joins and meets:
            self._ends[run] = self._ends.pop(run + 1)
            del self._firsts[run + 1]
        elif joins:
            self._ends[run] = number + 1
        elif meets:
            self._firsts[run + 1] = number
        else:
            self._firsts.insert(run + 1, number)
            self._ends.insert(run + 1, number + 1)
        return True

    def gaps(self, end: int) -> Iterator[tuple[int, int]]:
        """First and last number of every run below `end` that is not in the set."""
        free = 0
        for first, behind in zip(self._firsts, self._ends, strict=True):
            if free < min(first, end):
                yield free, min(first, end) - 1
            free = behind
        if free < end:
            yield free, end - 1
