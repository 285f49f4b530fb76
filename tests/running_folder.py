"""A folder source that runs in a thread, and what it yields."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from cade.frames import Event, Frame, Rejected, SeriesStart
from daemon.settings import FolderSettings, RoleSettings
from daemon.sources.folder import FolderSource

PATIENCE_S = 30.0
NEVER_S = 1000.0


class Running:
    """A source in its thread, and what it yields."""

    def __init__(self, folder: Path, **settings: object) -> None:
        values = {"path": folder, "poll_interval_s": 0.03, "quiet_s": 0.06, "silence_s": NEVER_S}
        self.source = FolderSource(FolderSettings.model_validate(values | settings), RoleSettings())
        self.events: queue.Queue[Event] = queue.Queue()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for event in self.source.events(self.stop):
            self.events.put(event)

    def next(self) -> Event:
        return self.events.get(timeout=PATIENCE_S)

    def start(self) -> SeriesStart:
        event = self.next()
        assert isinstance(event, SeriesStart), event
        return event

    def frame(self) -> Frame:
        event = self.next()
        assert isinstance(event, Frame), event
        return event

    def rejected(self) -> Rejected:
        event = self.next()
        assert isinstance(event, Rejected), event
        return event

    def finish(self) -> list[Event]:
        """Stop, and all that was left."""
        self.stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        return list(self.events.queue)

    def frames(self, count: int) -> list[Frame]:
        """The next events, which must be so many frames."""
        return [self.frame() for _ in range(count)]


def soon(running: Running) -> Event | None:
    """The next event, if there is one."""
    try:
        return running.events.get(timeout=0.4)
    except queue.Empty:
        return None
