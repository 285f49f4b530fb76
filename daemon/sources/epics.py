"""Process variables as a source of series: one says when to acquire, one says the role."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from cade.errors import CadeError
from cade.frames import Event, Role
from daemon.settings import EpicsSettings
from daemon.sources.acquisition import Acquisition
from daemon.sources.pv_value import Value, level_of, role_of_value

_TICK_S = 0.1
_MOST_REPORTED = 100


@dataclass(frozen=True, slots=True)
class _News:
    """What Channel Access has said about a PV."""

    pv: str
    connected: bool
    value: Value | None = None
    states: tuple[str, ...] = ()


class EpicsSource:
    """Starts and ends series as the acquire PV says; frames come from another source.

    Levels are followed, so two acquisitions that follow each other faster than Channel Access
    delivers updates are one series. The role is read when a series starts; a change while it runs
    holds from the next one. Channel Access has no authentication: no value is trusted.

    Args:
        settings: which PVs.
    """

    def __init__(self, settings: EpicsSettings) -> None:
        self.name = "epics"
        self._settings = settings
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._pvs: list[Any] = []
        self._connected: dict[str, bool | None] = {}  # None: not yet
        self._report_due_s = 0.0
        self._reported: set[tuple[str, str]] = set()
        self._log = structlog.get_logger(__name__)

    def connect(self) -> None:
        """Begin to look for the PVs; returns at once. Call it in the main thread.

        Raises:
            CadeError: the Channel Access library cannot be loaded.
        """
        import epics

        names = [name for name in (self._settings.role_pv, self._settings.acquire_pv) if name]
        self._connected = dict.fromkeys(names)
        self._report_due_s = time.monotonic() + self._settings.connect_s
        try:
            for name in names:
                pv = epics.PV(
                    name,
                    form="ctrl",  # so that updates bring the names of an enumeration's states
                    auto_monitor=True,
                    callback=self._on_value,
                    connection_callback=self._on_connection,
                )
                self._pvs.append(pv)
        except epics.ca.ChannelAccessException as error:
            self.close()
            raise CadeError(f"epics: Channel Access cannot be used: {error}") from error

    def close(self) -> None:
        """Let the PVs go. Call it in the main thread, when `events` has ended."""
        while self._pvs:
            self._pvs.pop().disconnect()

    def events(self, stop: threading.Event) -> Iterator[Event]:
        """`SeriesStart` and `SeriesEnd` until `stop` is set; an open series is left open."""
        has_role = bool(self._settings.role_pv)
        acquisition = Acquisition(
            self._settings.settle_s,
            self._settings.connect_s if has_role else 0.0,
            time.monotonic(),
        )
        while not stop.is_set():
            news = self._next(_TICK_S)
            if news is not None:
                self._follow(acquisition, news)
            self._report_silent()
            yield from acquisition.step(time.monotonic())
        for _ in range(self._news.qsize()):  # bounded: a PV may go on changing
            news = self._next(0.0)
            if news is not None:
                self._follow(acquisition, news)
                yield from acquisition.step(time.monotonic())

    def _next(self, timeout_s: float) -> _News | None:
        try:
            return self._news.get(block=timeout_s > 0, timeout=timeout_s)
        except queue.Empty:
            return None

    def _on_connection(self, *, pvname: str, conn: bool, **_: Any) -> None:
        """Called in a thread of Channel Access: no call into it, no logging, only enqueue."""
        self._news.put(_News(pvname, conn))

    def _on_value(
        self, *, pvname: str, value: Value, enum_strs: tuple[str, ...] | None = None, **_: Any
    ) -> None:
        """Called in a thread of Channel Access, as above."""
        states = tuple(enum_strs) if enum_strs else ()
        self._news.put(_News(pvname, connected=True, value=value, states=states))

    def _follow(self, acquisition: Acquisition, news: _News) -> None:
        now_s = time.monotonic()
        self._follow_connection(news)
        is_role = news.pv == self._settings.role_pv
        if not news.connected:
            if is_role:
                acquisition.role_lost(now_s)
            else:
                acquisition.level_lost()
        elif news.value is None:
            return
        elif is_role:
            if acquisition.is_open:
                self._log.debug("role holds from the next series", pv=news.pv)
            acquisition.role(self._role(news))
        else:
            on = level_of(news.value)
            if on is None:
                self._report(news, "is not a number; 1 starts a series, 0 ends it")
            else:
                acquisition.level(on=on, now_s=now_s)

    def _follow_connection(self, news: _News) -> None:
        if news.connected != self._connected.get(news.pv):
            self._connected[news.pv] = news.connected
            if news.connected:
                self._log.info("PV connected", pv=news.pv)
            else:
                self._log.warning("PV disconnected; waiting for it to come back", pv=news.pv)

    def _report_silent(self) -> None:
        if self._report_due_s and time.monotonic() >= self._report_due_s:
            self._report_due_s = 0.0
            for pv in [name for name, state in self._connected.items() if state is None]:
                self._log.warning(
                    f"PV is silent for {self._settings.connect_s:g} s: check its name, its IOC and "
                    "EPICS_CA_ADDR_LIST; waiting for it",
                    pv=pv,
                )

    def _role(self, news: _News) -> Role | None:
        try:
            return role_of_value(news.value, news.states)
        except ValueError as error:
            self._report(news, f"states no role: {error}")
            return None

    def _report(self, news: _News, problem: str) -> None:
        """Log a value that cannot be used, once."""
        value = repr(news.value)[:80]
        if (news.pv, value) not in self._reported and len(self._reported) < _MOST_REPORTED:
            self._reported.add((news.pv, value))
            self._log.warning(f"PV {problem}", pv=news.pv, value=value)
