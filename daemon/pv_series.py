"""Series that a PV opens and closes, instead of the detector or the folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from cade.frames import Beamline, Event, Frame, Rejected, SeriesEnd, SeriesStart


class PvSeries:
    """Puts the frames of all sources into the series that the PV has opened.

    The detector's own starts and ends only tell about the optics. Frames that come while the PV has
    no series open keep their own series, which is not open either: pairing rejects and counts them.
    """

    def __init__(self) -> None:
        self._open: SeriesStart | None = None
        self._beamline = Beamline()
        self._images = 0

    def from_pv(self, event: Event) -> Iterator[Event]:
        """An event of the PV."""
        if isinstance(event, SeriesStart):
            self._open, self._images = dataclasses.replace(event, beamline=self._beamline), 0
            yield self._open
        elif isinstance(event, SeriesEnd):
            self._open = None
            yield event

    def from_source(self, event: Event) -> Iterator[Event]:
        """An event of a detector or folder."""
        if isinstance(event, SeriesStart):
            self._beamline = event.beamline
        elif isinstance(event, Frame | Rejected):
            yield self._assigned(event)

    def _assigned(self, event: Frame | Rejected) -> Event:
        if self._open is None:
            return event
        image_id, self._images = self._images, self._images + 1
        return dataclasses.replace(event, series_id=self._open.series_id, image_id=image_id)
