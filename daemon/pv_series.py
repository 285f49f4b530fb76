"""Series that a PV opens and closes, instead of the detector or the folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from cade.frames import NOT_NEW, Beamline, Event, Frame, Rejected, SeriesEnd, SeriesStart


class PvSeries:
    """Puts the frames of all sources into the series that the PV has opened.

    The detector's own starts and ends only tell about the optics and the form of the images. They
    come after the PV's start, which therefore waits for the first frame. Frames that come while
    the PV has no series open keep their own series, which is not open either: pairing rejects and
    counts them.
    """

    def __init__(self) -> None:
        self._open: SeriesStart | None = None
        self._announced = False
        self._detector = SeriesStart("", 0.0, beamline=Beamline())
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
        return not self.is_open and frame.series_id != self._last_taken

    def from_pv(self, event: Event) -> Iterator[Event]:
        """What an event of the PV means."""
        if isinstance(event, SeriesStart):
            self._open, self._announced, self._images = event, False, 0
        elif isinstance(event, SeriesEnd):
            yield from self._announce()
            self._open = None
            yield event

    def from_source(self, event: Event) -> Iterator[Event]:
        """What an event of a detector or folder means."""
        if isinstance(event, SeriesStart):
            self._detector = event
        elif isinstance(event, Frame):
            yield from self._announce()
            self._last_taken = event.series_id if self.is_open else self._last_taken
            yield self._assigned(event)
        elif isinstance(event, Rejected):
            yield self._assigned(event)

    def _announce(self) -> Iterator[SeriesStart]:
        if self._open is None or self._announced:
            return
        self._announced = True
        detector = self._detector
        yield dataclasses.replace(
            self._open, beamline=detector.beamline, shape=detector.shape, dtype=detector.dtype
        )

    def _assigned(self, event: Frame | Rejected) -> Event:
        if self._open is None:
            return event
        if isinstance(event, Rejected) and event.reason in NOT_NEW:
            image_id = -1
        else:
            image_id, self._images = self._images, self._images + 1
        return dataclasses.replace(event, series_id=self._open.series_id, image_id=image_id)
