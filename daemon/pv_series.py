"""Series that a PV opens and closes, instead of the detector or the folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from cade.frames import NOT_NEW, Beamline, Event, Frame, Rejected, SeriesEnd, SeriesStart

_MOST_RUNNING = 100
"""Series of detectors that are remembered: of some no end may come."""


class PvSeries:
    """Puts the frames of all sources into the series that the PV has opened.

    The detector's own starts and ends only tell about the optics and the form of the images. They
    come after the PV's start, which therefore waits for the first frame. Frames that come while
    the PV has no series open keep their own series, which is not open either: pairing rejects and
    counts them. Only where the PV is silent the detector's own series count, so that nothing is
    lost.
    """

    def __init__(self) -> None:
        self._open: SeriesStart | None = None
        self._announced = False
        self._detector = SeriesStart("", 0.0, beamline=Beamline())
        self._running: dict[str, SeriesStart] = {}  # the detectors' own series
        self._passed: set[str] = set()  # those of them that count
        self._images = 0
        self._last_taken = ""

    @property
    def is_open(self) -> bool:
        """Whether frames have a series to go to."""
        return self._open is not None

    def may_begin_with(self, frame: Frame) -> bool:
        """Whether a frame that comes while no series is open may be the first of the next one.

        It is a late one of the last where that has frames of the same series of the detector.
        """
        return not self.is_open and frame.series_id not in (self._last_taken, *self._passed)

    def from_pv(self, event: Event) -> Iterator[Event]:
        """What an event of the PV means."""
        if isinstance(event, SeriesStart):
            for series_id in sorted(self._passed):
                yield SeriesEnd(series_id)
            self._passed.clear()
            self._open, self._announced, self._images = event, False, 0
        elif isinstance(event, SeriesEnd):
            yield from self._announce()
            self._open = None
            yield event

    def from_source(self, event: Event, *, blind: bool = False) -> Iterator[Event]:
        """What an event of a detector or folder means; `blind` while the PV is silent."""
        if event.series_id in self._passed and not isinstance(event, Frame):
            yield event
        if isinstance(event, SeriesStart):
            self._detector = event
            self._running[event.series_id] = event
            if len(self._running) > _MOST_RUNNING:
                del self._running[next(iter(self._running))]
        elif isinstance(event, SeriesEnd):
            self._running.pop(event.series_id, None)
            self._passed.discard(event.series_id)
        elif isinstance(event, Frame):
            own = self._open is None and (blind or event.series_id in self._passed)
            yield from self._own(event) if own else self._into_open(event)
        elif event.series_id not in self._passed:
            yield self._assigned(event)

    def _own(self, frame: Frame) -> Iterator[Event]:
        """A frame in its detector's own series."""
        start = self._running.get(frame.series_id)
        if start is not None and frame.series_id not in self._passed:
            self._passed.add(frame.series_id)
            yield start
        yield frame

    def _into_open(self, frame: Frame) -> Iterator[Event]:
        yield from self._announce()
        self._last_taken = frame.series_id if self.is_open else self._last_taken
        yield self._assigned(frame)

    def _announce(self) -> Iterator[SeriesStart]:
        if self._open is None or self._announced:
            return
        self._announced = True
        detector = self._detector
        yield dataclasses.replace(
            self._open,
            beamline=detector.beamline,
            shape=detector.shape,
            dtype=detector.dtype,
            flatfield=detector.flatfield,
            pixel_mask=detector.pixel_mask,
        )

    def _assigned(self, event: Frame | Rejected) -> Event:
        if self._open is None:
            return event
        if isinstance(event, Rejected) and event.reason in NOT_NEW:
            image_id = -1
        else:
            image_id, self._images = self._images, self._images + 1
        return dataclasses.replace(event, series_id=self._open.series_id, image_id=image_id)
