"""The supervisor: starts every part of the daemon, watches it, and stops it in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
import zmq

from cade.errors import CadeError, UsageError
from cade.frames import Event
from daemon.accounting import Account, Totals
from daemon.batches import ToTracker, ToWriter
from daemon.channel import Channel
from daemon.configuration import settings_toml
from daemon.pairing import Pairing
from daemon.processor import Processor, tracker_provenance
from daemon.pv_series import PvSeries
from daemon.recorder import Recorder
from daemon.references import ReferenceStore
from daemon.settings import Settings
from daemon.sources.folder import FolderSource
from daemon.sources.stream import StreamSource
from daemon.stages import pair_events, record_rows, track_batches
from daemon.systemd import Notifier
from daemon.warm_up import choose_threads, warm_up
from daemon.worker import Worker
from models import load_tracker

if TYPE_CHECKING:
    from daemon.sources.epics import EpicsSource

_TICK_S = 0.2


class Service:
    """The running daemon.

    Raises:
        UsageError: no source is configured, or the settings name what does not exist.
    """

    def __init__(self, settings: Settings) -> None:
        if not settings.sources:
            raise UsageError(
                "no source is configured: add a [[sources]] table (a stream or a folder) to the "
                "configuration; 'cade config init' writes one to start from"
            )
        self.settings = settings
        self.account = Account()
        self._log = structlog.get_logger(__name__)
        self._notifier = Notifier()
        self._stop = threading.Event()
        self._failure: tuple[str, BaseException] | None = None
        self._failed = threading.Event()
        self._events: Channel[Event] = Channel(settings.batch.queue_frames)
        # The later queues hold batches.
        batches = max(2, settings.batch.queue_frames // settings.batch.size)
        self._batches: Channel[ToTracker] = Channel(batches)
        self._rows: Channel[ToWriter] = Channel(batches)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pv_series = PvSeries() if settings.epics.acquire_pv else None
        self._epics = _epics_source(settings) if self._pv_series else None
        self._pv_lock = threading.Lock()
        self._recorder: Recorder | None = None

    def request_stop(self) -> None:
        """Ask for an orderly end; safe in a signal handler."""
        self._stop.set()

    def run(self) -> int:
        """Work until stopped; returns the exit code: 0 after an orderly end, 1 after a failure."""
        try:
            sources, stages = self._prepare()
            self._run(sources, stages)
        finally:
            if self._epics is not None:
                self._epics.close()
            self._context.destroy(linger=0)
        return self._verdict()

    def _prepare(self) -> tuple[list[Worker], list[Worker]]:
        """Everything that can fail at once, before the first frame."""
        settings = self.settings
        options = settings.tracker
        choose_threads(options.threads)
        tracker = load_tracker(
            options.name, device=options.device, weights=options.weights, window=options.window
        )
        warm_up(tracker)
        processor = Processor(tracker, remove_tilt=settings.output.remove_tilt)
        store = ReferenceStore(settings.references.path)
        pairing = Pairing(settings, store, self.account)
        provenance = tracker_provenance(tracker)
        toml = settings_toml(settings)
        self._recorder = recorder = Recorder(settings.output, provenance, toml, self.account)
        if self._epics is not None:
            self._epics.connect()
        self._log.info("tracker ready", tracker=options.name, device=str(tracker.device))
        stages = [
            self._worker("pairing", lambda: pair_events(self._events, self._batches, pairing)),
            self._worker(
                "tracking",
                lambda: track_batches(self._batches, self._rows, processor, self.account),
            ),
            self._worker("recording", lambda: record_rows(self._rows, recorder, self._beat)),
        ]
        return self._source_workers(), stages

    def _source_workers(self) -> list[Worker]:
        sources: list[StreamSource | FolderSource | EpicsSource] = []
        for source in self.settings.sources:
            if source.kind == "stream":
                sources.append(StreamSource(source, self._context))
            else:
                sources.append(FolderSource(source, self.settings.roles))
        if self._epics is not None:
            sources.append(self._epics)
        return [self._worker(s.name, lambda s=s: self._read(s)) for s in sources]  # type: ignore[misc]

    def _worker(self, name: str, function: Callable[[], None]) -> Worker:
        return Worker(name, function, self._fail)

    def _read(self, source: StreamSource | FolderSource | EpicsSource) -> None:
        """One source's events into the queue, put into the PV's series where there is one."""
        for event in source.events(self._stop):
            if self._pv_series is None:
                self._events.put(event)
                continue
            assign = (
                self._pv_series.from_pv if source is self._epics else self._pv_series.from_source
            )
            with self._pv_lock:
                for assigned in assign(event):
                    self._events.put(assigned)

    def _run(self, sources: list[Worker], stages: list[Worker]) -> None:
        for worker in stages + sources:
            worker.start()
        self._notifier.ready("waiting for frames")
        self._log.info("ready", sources=[w.name for w in sources])
        while not self._stop.wait(_TICK_S) and not self._failed.is_set():
            self._beat()
        self._notifier.stopping("finishing the frames that wait")
        self._stop.set()
        self._drain(sources, stages)
        self._log.info("stopped", **_as_log(self.account.totals()))

    def _drain(self, sources: list[Worker], stages: list[Worker]) -> None:
        """Let sources end, then each stage in turn; after `drain_s` give up."""
        deadline = time.monotonic() + self.settings.drain_s
        self._notifier.extend_timeout(self.settings.drain_s + 5)
        in_time = min((self._wait(worker, deadline) for worker in sources), default=True)
        self._events.close()
        in_time = min([in_time, *(self._wait(worker, deadline) for worker in stages)])
        if not in_time and not self._failed.is_set():
            late = f"frames still waited after drain_s = {self.settings.drain_s} s"
            self._fail("supervisor", CadeError(late))
        if self._failed.is_set():
            for worker in sources + stages:
                worker.join(5.0)

    def _wait(self, worker: Worker, deadline: float) -> bool:
        while not worker.join(_TICK_S):
            if self._failed.is_set() or time.monotonic() > deadline:
                return False
        return True

    def _beat(self) -> None:
        """Tell systemd that the daemon lives and what it has done."""
        self._notifier.watchdog()

    def _fail(self, name: str, error: BaseException) -> None:
        """A worker has died: remember the first one and break every queue."""
        if self._failure is None:
            self._failure = (name, error)
        self._failed.set()
        for channel in (self._events, self._batches, self._rows):
            channel.break_()

    def _verdict(self) -> int:
        if self._failure is None:
            return 0
        name, error = self._failure
        if isinstance(error, CadeError):
            raise error
        raise RuntimeError(f"{name} failed: {error}") from error


def _epics_source(settings: Settings) -> EpicsSource:
    """Imported only where a PV is configured: Channel Access starts threads of its own."""
    from daemon.sources.epics import EpicsSource

    return EpicsSource(settings.epics)


def _as_log(totals: Totals) -> dict[str, object]:
    rejected = {str(reason): count for reason, count in totals.rejected.items()}
    return {
        "received": totals.received,
        "written": totals.written,
        "kept": totals.kept,
        "rejected": rejected,
        "waiting": totals.waiting,
    }
