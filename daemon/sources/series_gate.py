"""What belongs to a series: decoded messages in, events in the right order out."""

from __future__ import annotations

from collections.abc import Iterator

from cade.frames import Event, Frame, Reason, Rejected, SeriesEnd, SeriesStart
from cade.wire import Message, WireError


class SeriesGate:
    """At most one series is open; only its own images pass, each once.

    An image of any other series is rejected, open or not: it is a late one of an aborted series,
    or its start message was lost, and then shape, role and count are unknown.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._seen: set[int] = set()
        self.series_id = ""
        """The open series, empty when none is."""

    def take(self, message: Message) -> Iterator[Event]:
        """Events that a decoded message means."""
        match message:
            case SeriesStart():
                yield from self._start(message)
            case Frame():
                yield self._image(message)
            case SeriesEnd():
                if message.series_id == self.series_id:  # else it has ended before
                    yield from self.close()

    def malformed(self, error: WireError) -> Rejected:
        """The event for a message that could not be decoded."""
        return self._reject(self.series_id, error.image_id, Reason.MALFORMED, str(error))

    def close(self) -> Iterator[SeriesEnd]:
        """End the open series, if there is one."""
        if self.series_id:
            yield SeriesEnd(self.series_id)
        self.series_id = ""
        self._seen.clear()

    def _start(self, start: SeriesStart) -> Iterator[Event]:
        yield from self.close()  # its end message was lost
        self.series_id = start.series_id
        yield start

    def _image(self, frame: Frame) -> Frame | Rejected:
        name, number = frame.series_id, frame.image_id
        if name != self.series_id:
            where = f"series {self.series_id} is open" if self.series_id else "no series is open"
            return self._reject(
                name, number, Reason.NO_SERIES, f"image {number} belongs to series {name}, {where}"
            )
        if number in self._seen:
            return self._reject(name, number, Reason.REPEATED, f"image {number} came twice")
        self._seen.add(number)
        return frame

    def _reject(self, series_id: str, image_id: int, reason: Reason, detail: str) -> Rejected:
        return Rejected(series_id, image_id, reason, detail, self._origin)
