"""The way in: events of all sources into one queue, counted, in series that cannot be mixed up."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator
from typing import Protocol

from cade.frames import Event, Frame, Rejected
from daemon.accounting import Account
from daemon.channel import Channel
from daemon.pv_series import PvSeries


class Source(Protocol):
    """Where events come from."""

    @property
    def name(self) -> str:
        """For logs, and to tell the series of two sources apart."""

    def events(self, stop: threading.Event) -> Iterator[Event]:
        """Events until `stop` is set."""


class Intake:
    """Reads sources, each in a thread of its own.

    Args:
        events: where everything goes.
        account: counts every frame that comes.
        several: there are several sources; their series get the source's name.
        pv_series: opens and closes series where a PV does it.
        patience_s: a detector may be faster than its PV: so long a frame waits for its series.
    """

    def __init__(
        self,
        events: Channel[Event],
        account: Account,
        *,
        several: bool = False,
        pv_series: PvSeries | None = None,
        patience_s: float = 0.0,
    ) -> None:
        self._events, self._account = events, account
        self._several = several
        self._pv_series = pv_series
        self._patience_s = patience_s
        self._patient = True
        self._pv_turn = threading.Condition()

    def read(self, source: Source, stop: threading.Event) -> None:
        """Take a source's events until `stop` is set."""
        for event in source.events(stop):
            if isinstance(event, Frame | Rejected):
                self._account.receive()
            if self._pv_series is not None:
                self._put_into(self._pv_series, event)
            elif self._several and event.series_id:
                name = f"{event.series_id} of {source.name}"
                self._events.put(dataclasses.replace(event, series_id=name))
            else:
                self._events.put(event)

    def read_pv(self, source: Source, stop: threading.Event) -> None:
        """Take the events of the PVs until `stop` is set."""
        if self._pv_series is None:
            return
        for event in source.events(stop):
            with self._pv_turn:
                self._put(self._pv_series.from_pv(event))
                self._patient = True
                self._pv_turn.notify_all()

    def _put_into(self, series: PvSeries, event: Event) -> None:
        with self._pv_turn:  # held while the queue is full: the order is that of arrival
            if self._patient and isinstance(event, Frame) and series.may_begin_with(event):
                # Who waited in vain is the only one: a detector may run without being asked to.
                self._patient = self._pv_turn.wait_for(lambda: series.is_open, self._patience_s)
            self._put(series.from_source(event))

    def _put(self, events: Iterable[Event]) -> None:
        for event in events:
            self._events.put(event)
