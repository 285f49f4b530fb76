"""What the daemon does just now, in one value."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from daemon.accounting import Account, Totals
from daemon.intake_control import IntakeControl
from daemon.last_error import Remark
from daemon.state import State

RATE_S = 5.0
"""Rates are means of so long."""


@dataclass(frozen=True, slots=True)
class Results:
    """What came out last. `reference_time_s` is when that reference was taken."""

    last_file: str = ""
    reference_id: str = ""
    reference_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The daemon at one moment. `lag_s` is the age of the oldest frame on its way.

    So many of the next frames become references by command as `references_left` says.
    """

    state: State
    totals: Totals
    rate_in_hz: float
    rate_out_hz: float
    lag_s: float
    series_open: int
    series_written: int
    results: Results
    remark: Remark
    tracker: str
    references_left: int


class StatusReader:
    """Puts a status together, several times a second; used by one thread.

    Args:
        account: the frames.
        control: is the daemon paused?
        lagging_s: a frame that has been on its way for longer lags.
        phase: STARTING, IDLE, STOPPING or FAULT, as the supervisor sees it.
        results: what came out last.
        remark: what went wrong last.
    """

    def __init__(
        self,
        account: Account,
        control: IntakeControl,
        lagging_s: float,
        phase: Callable[[], State],
        results: Callable[[], Results],
        remark: Callable[[], Remark],
    ) -> None:
        self._account, self._control = account, control
        self._lagging_s = lagging_s
        self._phase, self._results, self._remark = phase, results, remark
        self._history: deque[tuple[float, int, int]] = deque()
        self.tracker = ""

    def read(self) -> Status:
        """The status now."""
        totals, lag_s = self._account.totals(), self._account.lag_s()
        rate_in_hz, rate_out_hz = self._rates(totals)
        series = self._account.series
        return Status(
            state=self._state(totals, lag_s),
            totals=totals,
            rate_in_hz=rate_in_hz,
            rate_out_hz=rate_out_hz,
            lag_s=lag_s,
            series_open=series.open_count,
            series_written=series.closed_count,
            results=self._results(),
            remark=self._remark(),
            tracker=self.tracker,
            references_left=self._control.references.left,
        )

    def _state(self, totals: Totals, lag_s: float) -> State:
        phase = self._phase()
        if phase is not State.IDLE:
            return phase
        if self._control.paused:
            return State.PAUSED
        if lag_s > self._lagging_s:
            return State.LAGGING
        busy = totals.waiting > 0 or self._account.series.open_count > 0
        return State.ACQUIRING if busy else State.IDLE

    def _rates(self, totals: Totals) -> tuple[float, float]:
        """Frames per second in and out, since the youngest look that is old enough."""
        now_s = time.monotonic()
        self._history.append((now_s, totals.received, totals.done))
        while len(self._history) > 2 and now_s - self._history[1][0] >= RATE_S:
            self._history.popleft()
        before_s, received, done = self._history[0]
        span_s = max(now_s - before_s, 1e-3)
        return (totals.received - received) / span_s, (totals.done - done) / span_s
