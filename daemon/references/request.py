"""The wish of a person that the next frames be references."""

from __future__ import annotations

import dataclasses
import threading

from cade.frames import Event, Frame, Role, SeriesEnd, SeriesStart

_KEPT = (Role.FLAT, Role.DARK)


class ReferenceRequest:
    """Makes references of the next frames on their way in; safe to use from every thread.

    Frames that their origin or their series calls flat or dark stay so, and do not count.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = 0
        self._kept_series: set[str] = set()

    @property
    def left(self) -> int:
        """How many are still to come."""
        with self._lock:
            return self._left

    def ask(self, count: int) -> None:
        """The next so many frames are references; 0 takes an earlier wish back."""
        with self._lock:
            self._left = count

    def apply(self, event: Event) -> Event:
        """The event, as a reference where that is wished."""
        with self._lock:
            match event:
                case SeriesStart(role=role) if role in _KEPT:
                    self._kept_series.add(event.series_id)
                case SeriesStart() | SeriesEnd():
                    self._kept_series.discard(event.series_id)
                case Frame() if self._left and not self._stays(event):
                    self._left -= 1
                    return dataclasses.replace(event, role=Role.REFERENCE)
            return event

    def _stays(self, frame: Frame) -> bool:
        if frame.role is None:
            return frame.series_id in self._kept_series
        return frame.role in _KEPT
