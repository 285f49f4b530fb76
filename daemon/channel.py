"""A bounded queue between two threads that can be closed, and broken when the program fails."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Broken(Exception):  # noqa: N818 - not an error of its own: another thread has failed
    """The channel was broken by the supervisor: stop at once."""


class Channel(Generic[Item]):
    """Holds at most `capacity` items; `put` waits for room, so that pressure goes upstream."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[Item] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._closed = self._broken = False

    def put(self, item: Item) -> None:
        """Add an item, waiting for room.

        Raises:
            Broken: the program is failing.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._broken or len(self._items) < self._capacity)
            if self._broken:
                raise Broken
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> Item | None:
        """The next item; None when the time is over, or when closed and empty.

        Raises:
            Broken: the program is failing.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._broken or self._closed or bool(self._items), timeout_s
            )
            if self._broken:
                raise Broken
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def __iter__(self) -> Iterator[Item]:
        """Items until the channel is closed and empty."""
        while not self.exhausted:
            item = self.get()
            if item is not None:
                yield item

    @property
    def exhausted(self) -> bool:
        """Closed, and everything was taken."""
        with self._changed:
            return self._closed and not self._items

    def close(self) -> None:
        """Nothing more will be put; what is inside may still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def break_(self) -> None:
        """Wake everybody with `Broken`."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()
