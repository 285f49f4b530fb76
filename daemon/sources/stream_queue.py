"""Messages on their way from the thread that receives to the one that decodes, bounded in bytes."""

from __future__ import annotations

import threading
from collections import deque

from cade.wire import Buffer, WireError

Item = list[Buffer] | WireError
"""A message, or what happened instead of one."""


class MessageQueue:
    """ZeroMQ bounds its queues by messages only, whatever their size; this one by bytes.

    Args:
        max_bytes: there is room while less than this waits, so that it may be exceeded by one
            message.
    """

    def __init__(self, max_bytes: int) -> None:
        self._items: deque[tuple[int, Item]] = deque()
        self._bytes, self._max_bytes = 0, max_bytes
        self._closed = False
        self._changed = threading.Condition()

    def wait_for_room(self, timeout_s: float) -> bool:
        """Whether there is room, or comes to be in this time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._closed or self._bytes < self._max_bytes, timeout_s
            )

    def put(self, item: Item) -> None:
        """Add an item, whether there is room or not."""
        size = 0 if isinstance(item, WireError) else sum(memoryview(part).nbytes for part in item)
        with self._changed:
            self._items.append((size, item))
            self._bytes += size
            self._changed.notify_all()

    def get(self, timeout_s: float) -> Item | None:
        """The next item; None when the time is over, or when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._items), timeout_s)
            if not self._items:
                return None
            size, item = self._items.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    @property
    def closed(self) -> bool:
        """Whether nothing more is put, or taken."""
        with self._changed:
            return self._closed

    @property
    def exhausted(self) -> bool:
        """Closed, and everything was taken."""
        with self._changed:
            return self._closed and not self._items

    def close(self) -> None:
        """Nothing more is put, or taken; what is inside may still be."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
