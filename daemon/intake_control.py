"""What people may ask of the way in while the daemon runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from daemon.references.request import ReferenceRequest

_LOOK_S = 0.1


class SeriesOwner(Protocol):
    """A source that says when series begin and end."""

    def end_series(self) -> None:
        """Ask for the end of what is open, as if the detector had ended it; returns at once."""


class IntakeControl:
    """Pauses sources, ends their series, and makes references; safe to use from every thread."""

    def __init__(self) -> None:
        self.references = ReferenceRequest()
        self._owners: Sequence[SeriesOwner] = ()
        self._changed = threading.Condition()
        self._paused = False

    def own(self, owners: Sequence[SeriesOwner]) -> None:
        """Set the sources that end series."""
        self._owners = owners

    @property
    def paused(self) -> bool:
        """Whether sources are held up."""
        return self._paused

    def pause(self) -> None:
        """Hold up every source at its next frame: nothing is lost, what comes waits outside."""
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        """Go on."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def wait(self, stop: threading.Event) -> None:
        """While it is paused; a daemon that is asked to stop waits no longer."""
        with self._changed:
            while self._paused and not stop.is_set():
                self._changed.wait(_LOOK_S)

    def end_series(self) -> None:
        """End every open series, where its source has got to."""
        for owner in self._owners:
            owner.end_series()
