"""What belongs to a series: decoded messages in, events in the right order out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import structlog

from cade.frames import Event, Frame, Reason, Rejected, SeriesEnd, SeriesStart
from cade.wire import Message, WireError
from daemon.image_ids import ImageIds
from daemon.sources.stream_window import ReorderWindow

_MOST_REMEMBERED = 100
"""So many series that are over are known by name."""


class SeriesGate:
    """At most one series is open; only its own images pass, each once, and in order.

    An image of any other series is rejected, open or not: it is a late one of an aborted series,
    or its start message was lost, and then shape, role and count are unknown. A message that is out
    of place (a start that is repeated, the end of a series that never began) is rejected as well.

    Args:
        origin: what `Rejected.origin` says, usually the endpoint.
        window: puts the images in order; this gate's own.
        senders: endpoints by which the messages of one series come. With several, each may send a
            start and an end, and an end may overtake images: then the series ends when all that
            were announced have come, when each has sent an end, or with `settle`.
    """

    def __init__(self, origin: str, window: ReorderWindow, senders: int = 1) -> None:
        self._origin, self._window, self._senders = origin, window, senders
        self._ids = ImageIds()
        self._start_message: SeriesStart | None = None
        self._starts = self._ends = 0
        self._past: dict[str, str] = {}
        self._log = structlog.get_logger(__name__)
        self.series_id = ""
        """The open series, empty when none is."""

    def knows(self, series_id: str) -> bool:
        """Whether this series is open or is over: its start message has come."""
        return series_id == self.series_id or series_id in self._past

    @property
    def waiting_s(self) -> float:
        """How long images that are held back have waited for one with a smaller id."""
        return self._window.waiting_s

    @property
    def ending(self) -> bool:
        """Whether an end message has come, but perhaps not all images."""
        return self._ends > 0

    def take(self, message: Message) -> Iterator[Event]:
        """Events that a decoded message means."""
        match message:
            case SeriesStart():
                yield from self._start(message)
            case Frame():
                yield from self._image(message)
            case SeriesEnd():
                yield from self._end(message.series_id)

    def malformed(self, error: WireError) -> Iterator[Event]:
        """Events for a message that could not be decoded."""
        yield self._reject(self.series_id, error.image_id, Reason.MALFORMED, str(error))
        if error.image_id >= 0 and error.image_id not in self._ids:
            yield from self._window.do_without(error.image_id)

    def settle(self) -> Iterator[Event]:
        """Nothing has come for a while: what was waited for is given up."""
        yield from self._window.flush()
        if self.ending:
            yield from self.close()

    def close(self, fate: str = "has ended") -> Iterator[Event]:
        """End the open series, if there is one; `fate` is what its late images are told."""
        yield from self._window.flush()
        if self.series_id:
            self._past[self.series_id] = fate
            if len(self._past) > _MOST_REMEMBERED:
                del self._past[next(iter(self._past))]
            yield SeriesEnd(self.series_id)
        self.series_id, self._start_message = "", None
        self._ids, self._starts, self._ends = ImageIds(), 0, 0

    def _start(self, start: SeriesStart) -> Iterator[Event]:
        if start.series_id == self.series_id and self._starts < self._senders:
            self._starts += 1  # by another endpoint
            return
        if self._is_repeated(start):
            detail = f"the start message of series {start.series_id} came twice"
            yield self._reject(start.series_id, -1, Reason.REPEATED, detail)
            return
        if self.series_id:
            self._log.warning("series aborted", series=self.series_id, by_start_of=start.series_id)
        yield from self.close(f"was aborted by the start of series {start.series_id}")
        self._past.pop(start.series_id, None)
        self.series_id, self._start_message, self._starts = start.series_id, start, 1
        self._window.begin(in_order=not start.lossy)
        yield start

    def _is_repeated(self, start: SeriesStart) -> bool:
        """Whether it is the start of the open series once more, not a new one of the same name."""
        known = self._start_message
        if known is None or start.series_id != self.series_id:
            return False
        if not len(self._ids):  # where the time is that of arrival, only this tells
            start = dataclasses.replace(start, start_time_s=known.start_time_s)
        return start == known

    def _image(self, frame: Frame) -> Iterator[Event]:
        name, number = frame.series_id, frame.image_id
        if name != self.series_id:
            detail = f"image {number} belongs to series {name}, {self._where(name)}"
            yield self._reject(name, number, Reason.NO_SERIES, detail)
        elif not self._ids.add(number):
            yield self._reject(name, number, Reason.REPEATED, f"image {number} came twice")
        else:
            yield from self._window.take(frame)
            if self._is_complete():
                yield from self.close()

    def _end(self, name: str) -> Iterator[Event]:
        if name == self.series_id:
            self._ends += 1
            if self._ends >= self._senders or self._is_complete():
                yield from self.close()
        elif name not in self._past:
            detail = f"the end message of series {name}, {self._where(name)}"
            yield self._reject(name, -1, Reason.NO_SERIES, detail)

    def _is_complete(self) -> bool:
        """Whether an end message has come, and all images that were announced."""
        announced = self._start_message.image_count if self._start_message else None
        return self.ending and announced is not None and len(self._ids) >= announced

    def _where(self, name: str) -> str:
        if name in self._past:
            return f"which {self._past[name]}"
        now = f"series {self.series_id} is open" if self.series_id else "no series is open"
        return f"whose start message has not come; {now}"

    def _reject(self, series_id: str, image_id: int, reason: Reason, detail: str) -> Rejected:
        return Rejected(series_id, image_id, reason, detail, self._origin)
