"""The supervisor: starts every part of the daemon, watches it, and stops it in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import structlog
import zmq

from cade.errors import CadeError, UsageError
from cade.frames import Event
from daemon.accounting import Account, Totals
from daemon.batches import ToTracker, ToWriter
from daemon.channel import Channel
from daemon.configuration import settings_toml
from daemon.intake import Intake
from daemon.intake_control import IntakeControl
from daemon.pairing import Pairing
from daemon.processor import Processor, tracker_provenance
from daemon.pv_series import PvSeries
from daemon.recording.output_folder import check_folder
from daemon.recording.recorder import Recorder
from daemon.references.store import ReferenceStore
from daemon.served_pvs import ServedPvs
from daemon.settings import (
    AreaDetectorSettings,
    FolderSettings,
    PvaSettings,
    Settings,
    StreamSettings,
)
from daemon.settings import Source as SourceSettings
from daemon.sources.folder import FolderSource
from daemon.sources.pva import PvaSource
from daemon.sources.stream import StreamSource
from daemon.stages import pair_events, record_rows, track_batches
from daemon.state import State
from daemon.systemd import Notifier
from daemon.warm_up import choose_threads, warm_up
from daemon.worker import Worker
from models import load_tracker

if TYPE_CHECKING:
    from daemon.sources.epics import EpicsSource
    from daemon.sources.epics_files import AreaDetectorSource

    Source = AreaDetectorSource | FolderSource | PvaSource | StreamSource

_TICK_S = 0.2
_GRACE_S = 5.0
"""After a failure threads get this long to end by themselves and to close their files."""


class Service:
    """The running daemon.

    The failure of a source ends the daemon as a signal does: what has come is still processed. The
    failure of a stage ends it at once, because nothing can pass any more. Either way the files are
    closed, and `run` raises what went wrong.

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
        self._told: Totals | None = None
        self._stop = threading.Event()
        self._broken = threading.Event()
        self._failures: list[tuple[str, BaseException]] = []
        self._events: Channel[Event] = Channel(settings.batch.queue_frames)
        # The later queues hold batches.
        batches = max(2, settings.batch.queue_frames // settings.batch.size)
        self._batches: Channel[ToTracker] = Channel(batches)
        self._rows: Channel[ToWriter] = Channel(batches)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control = IntakeControl()
        self._ready = False
        self._pvs = ServedPvs(settings, self.account, self._control, self._phase, self._failed)
        self._area_detectors: list[AreaDetectorSource] = []
        self._epics = self._epics_source() if settings.epics.pvs else None

    def request_stop(self) -> None:
        """Ask for an orderly end; safe in a signal handler."""
        self._stop.set()

    def run(self) -> int:
        """Work until stopped; returns 0 after an orderly end.

        Raises:
            CadeError: something outside the program failed.
            RuntimeError: a part of the daemon failed.
        """
        sources: list[Worker] = []
        try:
            with self._pvs:
                stages = self._make_stages()
                sources = self._make_sources()
                self._supervise(sources, stages)
        finally:
            for pvs in (self._epics, *self._area_detectors):
                if pvs is not None:
                    pvs.close()
            if not any(worker.is_alive() for worker in sources):  # else it still uses its socket
                self._context.destroy(linger=0)
        return self._verdict()

    def _make_stages(self) -> list[Worker]:
        """Everything that can fail at once, before the first frame."""
        settings = self.settings
        check_folder(settings.output.root, "output.root")
        check_folder(settings.references.path, "references.path")
        if settings.references.spool is not None:
            check_folder(settings.references.spool, "references.spool")
        options = settings.tracker
        choose_threads(options.threads)
        tracker = load_tracker(
            options.name,
            device=options.device,
            weights=options.weights,
            window=options.window,
            weights_folder=options.weights_folder,
        )
        warm_up(tracker)
        self._log.info("tracker ready", tracker=options.name, device=str(tracker.device))
        processor = Processor(
            tracker,
            remove_tilt=settings.output.remove_tilt,
            divide_focusing=settings.output.divide_focusing,
            remove_drift=settings.references.remove_drift,
        )
        pairing = Pairing(settings, ReferenceStore(settings.references.path), self.account)
        provenance, toml = tracker_provenance(tracker), settings_toml(settings)
        recorder = Recorder(settings.output, provenance, toml, self.account)
        self._pvs.know(pairing, recorder, provenance)
        events, batches, rows = self._events, self._batches, self._rows
        parts: dict[str, Callable[[], None]] = {
            "pairing": lambda: pair_events(events, batches, pairing),
            "tracking": lambda: track_batches(batches, rows, processor, self.account),
            "recording": lambda: record_rows(rows, recorder),
        }
        return [Worker(name, part, self._stage_failed) for name, part in parts.items()]

    def _make_sources(self) -> list[Worker]:
        sources = [self._make_source(source) for source in self.settings.sources]
        epics, by_pv = self._epics, bool(self.settings.epics.acquire_pv)
        intake = Intake(
            self._events,
            self.account,
            several=len(sources) > 1,
            pv_series=PvSeries() if by_pv else None,
            acquire=epics if by_pv else None,
            patience_s=self.settings.epics.settle_s,
            labels=None if epics is None else epics.labels,
            control=self._control,
        )
        self._control.own([epics] if by_pv and epics is not None else sources)
        workers = [
            Worker(source.name, partial(intake.read, source, self._stop), self._failed)
            for source in sources
        ]
        for detector in self._area_detectors:
            detector.connect()
        if epics is not None:
            epics.connect()
            read_pv = partial(intake.read_pv, epics, self._stop)
            workers.append(Worker(epics.name, read_pv, self._failed))
        return workers

    def _make_source(self, settings: SourceSettings) -> Source:
        match settings:
            case AreaDetectorSettings():
                from daemon.sources.epics_files import AreaDetectorSource

                self._area_detectors.append(AreaDetectorSource(settings, self.settings.roles))
                return self._area_detectors[-1]
            case StreamSettings():
                return StreamSource(settings, self._context)
            case PvaSettings():
                return PvaSource(settings)
            case FolderSettings():
                return FolderSource(settings, self.settings.roles)

    def _epics_source(self) -> EpicsSource:
        """Imported only where a PV is configured: Channel Access starts threads of its own."""
        from daemon.sources.epics import EpicsSource

        detectors = self._area_detectors
        return EpicsSource(self.settings.epics, lambda: any(d.is_busy for d in detectors))

    def _supervise(self, sources: list[Worker], stages: list[Worker]) -> None:
        for worker in stages + sources:
            worker.start()
        self._ready = True
        self._log.info("ready", sources=[w.name for w in sources])
        self._tell(lambda: self._notifier.ready("waiting for frames"))
        while not self._stop.wait(_TICK_S) and not self._failures:
            self._beat()
            self._check_alive(sources + stages)
        self._stop.set()
        self._tell(lambda: self._notifier.stopping("finishing the frames that wait"))
        self._drain(sources, stages)
        self._log.info("stopped", **_as_log(self.account.totals()))

    def _drain(self, sources: list[Worker], stages: list[Worker]) -> None:
        """Let sources end, then each stage in turn; after `drain_s` give up."""
        drain_s = self.settings.drain_s
        self._tell(lambda: self._notifier.extend_timeout(drain_s + 2 * _GRACE_S))
        deadline_s = time.monotonic() + drain_s
        self._wait(sources, deadline_s)
        self._events.close()
        if not self._wait(stages, deadline_s) and not self._broken.is_set():
            waiting = self.account.totals().waiting
            late = f"{waiting} frames were not finished within drain_s = {drain_s:g} s; raise it"
            self._stage_failed("supervisor", CadeError(late))
        deadline_s = time.monotonic() + _GRACE_S
        for worker in sources + stages:
            worker.join(max(0.0, deadline_s - time.monotonic()))

    def _wait(self, workers: Sequence[Worker], deadline_s: float) -> bool:
        """Until they have ended; False where they did not in time, or cannot any more."""
        for worker in workers:
            while not worker.join(_TICK_S):
                if self._broken.is_set() or time.monotonic() > deadline_s:
                    return False
                self._beat()
        return True

    def _beat(self) -> None:
        """Tell systemd how it goes; that the daemon lives only where frames get through it.

        Frames that wait for a reference are held up by the beamline, not by the daemon.
        """
        totals = self.account.totals()
        if totals.waiting == totals.held or self._told is None or totals.done != self._told.done:
            self._tell(self._notifier.watchdog)
        if totals != self._told:
            self._tell(lambda: self._notifier.status(str(totals)))
        self._told = totals

    def _check_alive(self, workers: list[Worker]) -> None:
        for worker in workers:
            if not worker.is_alive() and not self._failures and not self._stop.is_set():
                self._stage_failed(worker.name, RuntimeError("it ended without being asked to"))

    def _tell(self, message: Callable[[], None]) -> None:
        """Where systemd cannot be told, the daemon ends, but not before its frames are done."""
        try:
            message()
        except CadeError as error:
            self._failed("supervisor", error)

    def _failed(self, name: str, error: BaseException) -> None:
        """Something that the frames on their way do not need has failed."""
        self._failures.append((name, error))

    def _stage_failed(self, name: str, error: BaseException) -> None:
        """Nothing gets through any more: wake everybody who waits for a queue."""
        self._failed(name, error)
        self._broken.set()
        for channel in (self._events, self._batches, self._rows):
            channel.break_()

    def _phase(self) -> State:
        """As far as the supervisor knows; what frames do is for others to say."""
        if self._failures:
            return State.FAULT
        if self._stop.is_set():
            return State.STOPPING
        return State.IDLE if self._ready else State.STARTING

    def _verdict(self) -> int:
        """Raise the first failure; the others often follow from it."""
        if not self._failures:
            return 0
        name, error = self._failures[0]
        if isinstance(error, CadeError):
            raise error
        raise RuntimeError(f"{name} failed: {type(error).__name__}: {error}") from error


def _as_log(totals: Totals) -> dict[str, object]:
    rejected = {str(reason): count for reason, count in totals.rejected.items()}
    return {
        "received": totals.received,
        "written": totals.written,
        "kept": totals.kept,
        "rejected": rejected,
        "missing": totals.missing,
        "waiting": totals.waiting,
        "doubted": {str(reason): count for reason, count in totals.doubted.items()},
    }
