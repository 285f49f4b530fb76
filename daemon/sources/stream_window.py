"""Images that overtook one another, back in order."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator

from cade.frames import Frame


class ReorderWindow:
    """Holds images of one series back while one with a smaller id may still come.

    An image that is next in order passes at once, with those that waited for it: an orderly stream
    is never held up. When too many wait, or the owner calls `flush`, the missing one is given up;
    if it comes later all the same, it passes at once. Ids are unique, the owner sees to that.

    Args:
        max_frames: so many may wait; 0 for a window that lets everything pass.
        max_bytes: memory of their pixels.
    """

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self._max_frames, self._max_bytes = max_frames, max_bytes
        self._held: list[tuple[int, Frame]] = []  # a heap
        self._held_bytes = 0
        self._absent: set[int] = set()
        self._next = 0
        self._open = True
        self._since_s = 0.0

    def begin(self, *, in_order: bool) -> None:
        """A series begins with image 0, and its ids follow one another, or they do not."""
        self._next = 0
        self._absent.clear()
        self._open = in_order and self._max_frames > 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def waiting_s(self) -> float:
        """How long the images that are held have waited for the same one; 0 where none is."""
        return time.monotonic() - self._since_s if self._held else 0.0

    def take(self, frame: Frame) -> Iterator[Frame]:
        """The images that may go on, now that this one has come."""
        if not self._open:
            yield frame
            return
        if frame.image_id <= self._next:
            if frame.image_id == self._next:
                self._next += 1
            yield frame
            yield from self._in_order()
            return
        if not self._held:
            self._since_s = time.monotonic()
        heapq.heappush(self._held, (frame.image_id, frame))
        self._held_bytes += frame.data.nbytes
        while len(self._held) > self._max_frames or self._held_bytes > self._max_bytes:
            yield from self._give_up()

    def do_without(self, image_id: int) -> Iterator[Frame]:
        """The images that may go on, now that this one is known not to come."""
        if self._open and image_id >= self._next and len(self._absent) < self._max_frames:
            self._absent.add(image_id)
            yield from self._in_order()

    def flush(self) -> Iterator[Frame]:
        """All that is held: nothing else is expected to come."""
        while self._held:
            yield from self._give_up()

    def _give_up(self) -> Iterator[Frame]:
        """Go on with the first one that is held."""
        self._next = self._held[0][0]
        self._absent = {image_id for image_id in self._absent if image_id > self._next}
        yield from self._in_order()

    def _in_order(self) -> Iterator[Frame]:
        while True:
            if self._held and self._held[0][0] <= self._next:
                image_id, frame = heapq.heappop(self._held)
                self._held_bytes -= frame.data.nbytes
                self._since_s = time.monotonic()
                self._next = image_id + 1
                yield frame
            elif self._next in self._absent:
                self._absent.discard(self._next)
                self._next += 1
            else:
                return
