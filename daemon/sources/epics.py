"""Process variables as a source of series: one says when to acquire, others the role."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator

import structlog

from cade.frames import Event
from daemon.settings import EpicsSettings
from daemon.sources.acquisition import Acquisition
from daemon.sources.epics_labels import PvLabels
from daemon.sources.epics_metadata import MetadataByPv
from daemon.sources.epics_roles import RoleByPv
from daemon.sources.pv_board import PvBoard, PvState
from daemon.sources.pv_report import PvReport
from daemon.sources.pv_value import level_of

_TICK_S = 0.1


class EpicsSource:
    """Starts and ends series as the acquire PV says; frames come from another source.

    Levels are followed, so two acquisitions that follow each other faster than Channel Access
    delivers updates are one series. The role is read when a series starts; a change while it runs
    holds from the next one. Channel Access has no authentication: no value is trusted.

    Callbacks of Channel Access only put what they are told on the board; everything else happens
    in the thread of `events`, and, by `labels`, in those of the other sources.

    Args:
        settings: which PVs.
        held: whether frames of the running acquisition are still to come, whatever the PV says.
    """

    def __init__(self, settings: EpicsSettings, held: Callable[[], bool] = lambda: False) -> None:
        self.name = "epics"
        self._settings, self._held = settings, held
        rules = [condition.pv for rule in settings.roles for condition in rule.when]
        followed = {settings.acquire_pv, settings.role_pv, *rules} - {""}
        self._board = PvBoard(settings.pvs, followed)
        self._report = PvReport()
        self._roles = RoleByPv(settings, self._report)
        metadata = MetadataByPv(settings.metadata, self._board, self._report)
        self.labels = PvLabels(settings, self._board, self._roles, metadata)
        # As told in order: what the board has may already be later.
        self._states = dict.fromkeys(settings.pvs, PvState())
        self._connected: dict[str, bool | None] = dict.fromkeys(settings.pvs)  # None: not yet
        self._report_due_s = 0.0
        self._acquisition: Acquisition | None = None
        self._end_asked = threading.Event()
        self._log = structlog.get_logger(__name__)

    @property
    def is_pending(self) -> bool:
        """Whether a series is about to start, so that frames are worth to wait."""
        return self._acquisition is not None and self._acquisition.is_pending

    @property
    def level_known(self) -> bool:
        """Whether the acquire PV says when to acquire."""
        state = self._board.latest(self._settings.acquire_pv)
        return state.is_known and level_of(state.value) is not None

    def end_series(self) -> None:
        """Ask for the end of the series; the next one begins when the PV rises again."""
        self._end_asked.set()

    def connect(self) -> None:
        """Begin to look for the PVs; returns at once. Call it in the main thread.

        Raises:
            CadeError: the Channel Access library cannot be loaded.
        """
        self._report_due_s = time.monotonic() + self._settings.connect_s
        self._board.connect()

    def close(self) -> None:
        """Let the PVs go. Call it in the main thread, when `events` has ended."""
        self._board.close()

    def events(self, stop: threading.Event) -> Generator[Event]:
        """`SeriesStart` and `SeriesEnd` until `stop` is set; an open series is left open."""
        settings = self._settings
        self._acquisition = acquisition = Acquisition(
            settings.settle_s,
            settings.connect_s,
            time.monotonic(),
            states_role=settings.states_role,
        )
        while not stop.is_set():
            yield from self._turn(acquisition, _TICK_S)
            self._report_silent()
        for _ in range(self._board.waiting()):  # bounded: a PV may go on changing
            yield from self._turn(acquisition, 0.0)
        if self._report.counts():
            self._log.info("values of PVs were left out", counts=self._report.counts())

    def _turn(self, acquisition: Acquisition, timeout_s: float) -> Iterator[Event]:
        news = self._board.next(timeout_s)
        if news is not None:
            self._follow(acquisition, *news)
        if self._end_asked.is_set():
            self._end_asked.clear()
            acquisition.end(time.monotonic())
        last_frame_s = self.labels.last_frame_s
        yield from acquisition.step(time.monotonic(), held=self._held(), last_frame_s=last_frame_s)

    def _follow(self, acquisition: Acquisition, pv: str, state: PvState) -> None:
        self._follow_connection(pv, state)
        self._states[pv] = state
        now_s = time.monotonic()
        acquisition.role(self._roles.stated(self._states.__getitem__), now_s)
        if pv != self._settings.acquire_pv:
            return
        if not state.connected:
            acquisition.level_lost()
        elif state.is_known:
            on = level_of(state.value)
            if on is None:
                value = repr(state.value)[:80]
                self._report.warn(pv, f"is no number; 1 starts a series, 0 ends it: {value}")
            else:
                acquisition.level(on=on, now_s=now_s)

    def _follow_connection(self, pv: str, state: PvState) -> None:
        if state.connected != self._connected[pv]:
            self._connected[pv] = state.connected
            if state.connected:
                self._log.info("PV connected", pv=pv)
            else:
                self._log.warning("PV disconnected; waiting for it to come back", pv=pv)

    def _report_silent(self) -> None:
        if self._report_due_s and time.monotonic() >= self._report_due_s:
            self._report_due_s = 0.0
            for pv in [name for name, state in self._connected.items() if state is None]:
                self._log.warning(
                    f"PV is silent for {self._settings.connect_s:g} s: check its name, its IOC and "
                    "EPICS_CA_ADDR_LIST; waiting for it",
                    pv=pv,
                )
