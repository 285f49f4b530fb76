"""An areaDetector's images over pvAccess as a source of events."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator

import structlog

from cade.frames import Event
from cade.wire import WireError
from cade.wire.fields import shown
from cade.wire.ntndarray import NtndArrayDecoder, taken_ns, unique_id
from cade.wire.options import DecoderOptions
from daemon.settings import PvaSettings
from daemon.sources.pva_monitor import Lost, PvaMonitor, Update, check_installed
from daemon.sources.series_gate import SeriesGate
from daemon.sources.stream_window import ReorderWindow

_POLL_S = 0.1
_TYPE = "epics:nt/NTNDArray:"


class PvaSource:
    """Follows one NTNDArray.

    pvAccess holds nobody up: what it cannot deliver in time is lost, and so is what is posted while
    the connection is. Gaps in the numbers show it: such images count as missing from their series,
    and the first gap of each series is logged.

    Args:
        settings: which PV.

    Raises:
        UsageError: the extra is not installed.
    """

    def __init__(self, settings: PvaSettings) -> None:
        check_installed()
        self.name = f"pva {settings.pv}"
        self._settings = settings
        window = ReorderWindow(settings.reorder_frames, settings.queue_bytes // 4)
        self._gate = SeriesGate(settings.pv, window)
        self._decoder = NtndArrayDecoder(
            DecoderOptions(
                role_key=settings.role_key, max_bytes=settings.max_image_bytes, origin=settings.pv
            ),
            detector=settings.detector or None,
            exposure_key=settings.exposure_key,
        )
        self._end_asked = threading.Event()
        self._begun_ns = time.time_ns()
        self._connected: bool | None = None  # None: not yet
        self._silent_since_s = time.monotonic()
        self._latest: tuple[int, int | None] | None = None
        self._last_number: int | None = None
        self._gap_in: str | None = None
        self._log = structlog.get_logger(__name__)

    def end_series(self) -> None:
        """Ask for the end of the open series; the next image begins another."""
        self._end_asked.set()

    def events(self, stop: threading.Event) -> Generator[Event]:
        """Events until `stop` is set and what had arrived by then is handed on.

        Iterate in one thread only. A series that is open at the end is left open. Whatever cannot
        be decoded comes as `Rejected`.
        """
        monitor = PvaMonitor(self._settings)
        try:
            yield from self._receive(monitor, stop)
            for _ in range(len(monitor) + self._settings.queue_frames):  # bounded: more may come
                update = monitor.next(0.0)
                if isinstance(update, Update):
                    yield from self._take(update)
            yield from self._gate.settle()
        finally:
            monitor.close()

    def _receive(self, monitor: PvaMonitor, stop: threading.Event) -> Iterator[Event]:
        self._silent_since_s = time.monotonic()
        report_due_s = self._silent_since_s + self._settings.connect_s
        while not stop.is_set():
            update = monitor.next(_POLL_S)
            if isinstance(update, Update):
                self._follow_connection()
                yield from self._take(update)
            elif isinstance(update, Lost):
                self._lose_connection(update.problem)
            if self._connected is None and time.monotonic() > report_due_s:
                self._connected = False
                self._log.warning(
                    f"PV is silent for {self._settings.connect_s:g} s: check its name, its IOC and "
                    "EPICS_PVA_ADDR_LIST; waiting for it",
                    pv=self._settings.pv,
                )
            elif self._gate.waiting_s >= self._settings.reorder_s:
                yield from self._gate.settle()
            if self._end_asked.is_set() or self._is_silent():
                self._end_asked.clear()
                self._decoder.forget()
                yield from self._gate.close()

    def _follow_connection(self) -> None:
        if not self._connected:
            self._connected = True
            self._silent_since_s = time.monotonic()
            self._log.info("PV connected", pv=self._settings.pv)

    def _lose_connection(self, problem: str) -> None:
        if self._connected or problem != "disconnected":
            text = "PV is lost; waiting for it to come back, its series stays open"
            self._log.warning(text, pv=self._settings.pv, problem=problem[:200])
        self._connected = self._connected and False

    def _is_silent(self) -> bool:
        """Only who is connected can tell silence from a restarted IOC."""
        silent_s = time.monotonic() - self._silent_since_s
        return bool(self._connected) and silent_s > self._settings.silence_s

    def _take(self, update: Update) -> Iterator[Event]:
        try:
            if not self._is_news(update):
                return
            self._silent_since_s = time.monotonic()
            self._note(update)
            messages = self._decoder.decode(update.fields)
        except WireError as error:
            yield from self._gate.malformed(error)
            return
        for message in messages:
            yield from self._gate.take(message)

    def _is_news(self, update: Update) -> bool:
        """Whether an update is an image that has not been seen.

        A connection begins with what the PV has: nothing yet, an image of before the daemon
        started, or after a lost connection the last one that came.
        """
        if not update.has_image:
            return False
        if not update.type_id.startswith(_TYPE):
            raise WireError(f"the PV is no NTNDArray but {shown(update.type_id)}: check `pv`")
        if update.first and update.fields.get("value") is None:
            return False
        if not update.first:
            return True
        stamp_ns = taken_ns(update.fields)
        if (unique_id(update.fields), stamp_ns) == self._latest:
            return False
        is_old = stamp_ns is None or stamp_ns < self._begun_ns
        if self._latest is None and is_old and self._settings.existing == "ignore":
            self._latest = unique_id(update.fields), stamp_ns
            self._log.info("image of before the start is left out", pv=self._settings.pv)
            return False
        return True

    def _note(self, update: Update) -> None:
        """Remember what has come, and log the first gap of a series."""
        number, before = unique_id(update.fields), self._last_number
        self._latest = number, taken_ns(update.fields)
        self._last_number = number
        if before is None or number <= before + 1 or self._gap_in == self._gate.series_id:
            return
        self._gap_in = self._gate.series_id
        self._log.warning(
            "image numbers jump: unless they come late, the IOC has left images out, they were "
            "posted while the connection was lost, or came faster than they are processed "
            "(queue_bytes); later jumps of this series are only counted",
            pv=self._settings.pv,
            last=before,
            next=number,
        )
