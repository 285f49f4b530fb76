"""What Channel Access has said about each process variable, for every thread to look at."""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cade.errors import CadeError
from daemon.sources.pv_value import Value

SEVERITIES = ("", "MINOR", "MAJOR", "INVALID")
INVALID = SEVERITIES.index("INVALID")
UNDEFINED = 17
"""Alarm status of a record that was not processed; its value may have been set all the same."""


@dataclass(frozen=True, slots=True)
class PvState:
    """A process variable as it is known.

    `value` and `timestamp_s` (Unix time, by the clock of the IOC) outlive a lost connection.
    """

    connected: bool = False
    value: Value | None = None
    timestamp_s: float | None = None
    severity: int = 0
    status: int = 0
    states: tuple[str, ...] = ()
    units: str = ""
    has_value: bool = False
    has_properties: bool = False

    @property
    def is_known(self) -> bool:
        """Whether it is connected and has said what it is since."""
        return self.connected and self.has_value and self.has_properties

    @property
    def is_trusted(self) -> bool:
        """Whether the control system itself believes the value."""
        return self.severity < INVALID or self.status == UNDEFINED

    @property
    def alarm(self) -> str:
        """The severity of its alarm, empty for none."""
        return SEVERITIES[min(self.severity, INVALID)]


class PvBoard:
    """Process variables, monitored. `connect` and `close` belong to the main thread.

    Each has two subscriptions: one brings values with time stamps and alarms, the other units and
    the names of states, which Channel Access does not put into one message.

    Args:
        names: the PVs, each once.
        followed: those whose every change is told by `next`; of the others connections only.
    """

    def __init__(self, names: Iterable[str], followed: Collection[str] = ()) -> None:
        self._lock = threading.Lock()
        self._states = {name: PvState() for name in names}
        self._followed = frozenset(followed)
        self._news: queue.SimpleQueue[tuple[str, PvState]] = queue.SimpleQueue()
        self._pvs: list[Any] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The PVs."""
        return tuple(self._states)

    def connect(self) -> None:
        """Begin to look for the PVs; returns at once.

        Raises:
            CadeError: the Channel Access library cannot be loaded.
        """
        # Records may hold texts of any encoding, on which pyepics would lose the message.
        os.environ.setdefault("PYEPICS_ENCODING", "latin-1")
        import epics

        try:
            for name in self._states:
                self._pvs += [
                    epics.PV(
                        name,
                        form="time",
                        auto_monitor=True,
                        callback=self._on_value,
                        connection_callback=self._on_connection,
                    ),
                    epics.PV(
                        name,
                        form="ctrl",
                        auto_monitor=epics.dbr.DBE_PROPERTY,
                        callback=self._on_properties,
                    ),
                ]
        except epics.ca.ChannelAccessException as error:
            self.close()
            raise CadeError(f"epics: Channel Access cannot be used: {error}") from error

    def close(self) -> None:
        """Let the PVs go."""
        while self._pvs:
            self._pvs.pop().disconnect()

    def latest(self, name: str) -> PvState:
        """What is known now; safe in every thread."""
        with self._lock:
            return self._states[name]

    def next(self, timeout_s: float) -> tuple[str, PvState] | None:
        """What has been said next, in order; None where nothing was within `timeout_s`."""
        try:
            return self._news.get(block=timeout_s > 0, timeout=timeout_s)
        except queue.Empty:
            return None

    def waiting(self) -> int:
        """How much of that there is."""
        return self._news.qsize()

    # The following are called in a thread of Channel Access: no call into it, no logging.

    def _on_connection(self, *, pvname: str, conn: bool, **_: Any) -> None:
        if conn:
            self._change(pvname, told=True, connected=True)
        else:
            self._change(pvname, told=True, connected=False, has_value=False, has_properties=False)

    def _on_value(
        self,
        *,
        pvname: str,
        value: Value,
        timestamp: float | None = None,
        severity: int | None = 0,
        status: int | None = 0,
        **_: Any,
    ) -> None:
        if value is not None:
            self._change(
                pvname,
                connected=True,
                value=_plain(value),
                timestamp_s=timestamp,
                severity=severity or 0,
                status=status or 0,
                has_value=True,
            )

    def _on_properties(
        self,
        *,
        pvname: str,
        units: str | None = None,
        enum_strs: tuple[str, ...] | None = None,
        **_: Any,
    ) -> None:
        states = tuple(_decoded(state) for state in enum_strs or ())
        self._change(pvname, states=states, units=_decoded(units or ""), has_properties=True)

    def _change(self, name: str, *, told: bool = False, **changes: Any) -> None:
        with self._lock:
            state = self._states[name] = replace(self._states[name], **changes)
            if told or (name in self._followed and state.is_known):
                self._news.put((name, state))


def _plain(value: Value) -> Value:
    """A value of an ordinary type: of empty arrays pyepics makes arrays of C."""
    if isinstance(value, ctypes.Array):
        return np.ctypeslib.as_array(value).copy()
    return _decoded(value) if isinstance(value, str) else value


def _decoded(text: str) -> str:
    """What was meant by bytes that have been read as Latin-1: that, or UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
