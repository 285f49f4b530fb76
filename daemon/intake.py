"""The way in: events of all sources into one queue, counted, in series that cannot be mixed up."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Generator, Iterable
from typing import Protocol

from cade.frames import Event, Frame, Rejected, SeriesStart
from daemon.accounting import Account
from daemon.channel import Channel
from daemon.intake_control import IntakeControl
from daemon.pv_series import PvSeries

_LOOK_S = 0.1


class Source(Protocol):
    """Where events come from."""

    @property
    def name(self) -> str:
        """For logs, and to tell the series of two sources apart."""

    def events(self, stop: threading.Event) -> Generator[Event]:
        """Events until `stop` is set; closed where nobody wants any more."""


class Labels(Protocol):
    """What process variables add to series and frames."""

    def start(self, start: SeriesStart, stop: threading.Event, *, with_role: bool) -> SeriesStart:
        """A series with its metadata, and its role where no PV has opened it; it may wait."""

    def frame(self, frame: Frame) -> Frame:
        """A frame that has just come, with what the PVs say now."""


class Acquire(Protocol):
    """The PV that opens and closes series."""

    @property
    def is_pending(self) -> bool:
        """Whether a series is about to start."""

    @property
    def level_known(self) -> bool:
        """Whether it says anything at all."""


class Intake:
    """Reads sources, each in a thread of its own.

    Args:
        events: where everything goes.
        account: counts every frame that comes.
        several: there are several sources; their series get the source's name.
        pv_series: opens and closes series where a PV does it.
        acquire: knows of series that the PV has not opened yet; needed with `pv_series`.
        patience_s: a detector may be faster than its PV: so long a frame waits for its series.
        labels: adds what process variables say; nothing does if None.
        control: what people ask of the sources; nobody does if None.
    """

    def __init__(
        self,
        events: Channel[Event],
        account: Account,
        *,
        several: bool = False,
        pv_series: PvSeries | None = None,
        acquire: Acquire | None = None,
        patience_s: float = 0.0,
        labels: Labels | None = None,
        control: IntakeControl | None = None,
    ) -> None:
        self._events, self._account = events, account
        self._several = several
        self._pv_series, self._acquire = pv_series, acquire
        self._patience_s = patience_s
        self._labels = labels
        self._control = control or IntakeControl()
        self._patient = True
        self._pv_turn = threading.Condition()

    def read(self, source: Source, stop: threading.Event) -> None:
        """Take a source's events until `stop` is set."""
        with contextlib.closing(source.events(stop)) as events:
            for came in events:
                event = self._labelled(came, source)
                self._control.wait(stop)
                if isinstance(event, Frame | Rejected):
                    self._account.receive()
                if self._pv_series is not None:
                    self._put_into(self._pv_series, event, stop)
                else:
                    self._hand_on(event, stop)

    def read_pv(self, source: Source, stop: threading.Event) -> None:
        """Take the events of the PVs until `stop` is set."""
        for event in source.events(stop):
            if self._pv_series is None:
                continue
            with self._pv_turn:
                if isinstance(event, SeriesStart):
                    self._account.series.expect()
                self._put(self._pv_series.from_pv(event), stop)
                self._patient = True
                self._pv_turn.notify_all()

    def _labelled(self, event: Event, source: Source) -> Event:
        """With what process variables say now, and in a series that no other source has."""
        if self._labels is not None and isinstance(event, Frame):
            event = self._labels.frame(event)
        if self._several and event.series_id:
            return dataclasses.replace(event, series_id=f"{event.series_id} of {source.name}")
        return event

    def _put_into(self, series: PvSeries, event: Event, stop: threading.Event) -> None:
        with self._pv_turn:  # held while the queue is full: the order is that of arrival
            if isinstance(event, Frame):
                self._await_series(series, event, stop)
            blind = self._acquire is not None and not self._acquire.level_known
            self._put(series.from_source(event, blind=blind), stop)

    def _await_series(self, series: PvSeries, frame: Frame, stop: threading.Event) -> None:
        """Let a frame wait for the series that is about to begin, or may be.

        Who waited in vain is the only one: a detector may run without being asked to.
        """
        due_s = time.monotonic()
        if self._patient and series.may_begin_with(frame):
            due_s += self._patience_s
        waited = False
        while not (series.is_open or stop.is_set()):
            left_s = due_s - time.monotonic()
            pending = self._acquire is not None and self._acquire.is_pending
            if left_s <= 0 and not pending:
                break
            waited = True
            self._pv_turn.wait(_LOOK_S if pending else min(left_s, _LOOK_S))
        self._patient = series.is_open or (self._patient and not waited)

    def _put(self, events: Iterable[Event], stop: threading.Event) -> None:
        for event in events:
            self._hand_on(event, stop)

    def _hand_on(self, event: Event, stop: threading.Event) -> None:
        if isinstance(event, SeriesStart):
            self._account.series.announce()
            if self._labels is not None:
                by_pv = self._pv_series is not None and self._pv_series.is_open
                event = self._labels.start(event, stop, with_role=not by_pv)
        self._events.put(self._control.references.apply(event))
