"""The status of the daemon, and what it is made of."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator

import numpy as np
import pytest
import structlog

from cade.frames import Event, Frame, Reason, Rejected, Role, SeriesEnd, SeriesStart
from daemon.accounting import Account
from daemon.intake_control import IntakeControl
from daemon.last_error import LastError, Remark
from daemon.references.request import ReferenceRequest
from daemon.series_ledger import SeriesLedger
from daemon.state import State
from daemon.status import Results, Status, StatusReader


def frame(role: Role | None = None, series_id: str = "1") -> Frame:
    return Frame(series_id, 0, np.zeros((1, 1)), 0.0, role)


def test_ledger_follows_a_series_to_its_file() -> None:
    ledger = SeriesLedger()
    assert (ledger.mark, ledger.open_count, ledger.is_written(0)) == (0, 0, True)
    ledger.announce()
    mark = ledger.mark
    assert (ledger.open_count, ledger.is_written(mark)) == (1, False)
    ledger.begin("1")
    assert not ledger.is_written(mark)
    ledger.close("1")
    assert (ledger.open_count, ledger.closed_count, ledger.is_written(mark)) == (0, 1, True)
    ledger.close("1")  # of an unknown series it has nothing to say
    assert ledger.closed_count == 1


def test_ledger_tells_series_apart_whatever_the_order_of_their_ends() -> None:
    ledger = SeriesLedger()
    for name in ("1", "2"):
        ledger.announce()
        ledger.begin(name)
    ledger.close("2")
    assert not ledger.is_written(2)
    ledger.announce()
    ledger.begin("1")  # begins anew before the end of the first one is written
    ledger.close("1")
    assert ledger.is_written(2)
    assert not ledger.is_written(3)
    assert ledger.open_count == 1


def test_ledger_counts_what_a_pv_has_opened() -> None:
    ledger = SeriesLedger()
    ledger.expect()
    mark = ledger.mark
    assert (mark, ledger.open_count, ledger.is_written(mark)) == (1, 1, False)
    ledger.announce()
    assert (ledger.mark, ledger.open_count) == (1, 1)
    ledger.begin("epics-1")
    ledger.close("epics-1")
    assert ledger.is_written(mark)


def test_request_makes_references_of_the_next_frames() -> None:
    request = ReferenceRequest()
    events: list[Event] = [SeriesStart("1", 0.0), frame(), frame(Role.SAMPLE), frame(), frame()]
    assert [request.apply(event) for event in events] == events
    request.ask(3)
    roles = [e.role for e in map(request.apply, events) if isinstance(e, Frame)]
    assert roles == [Role.REFERENCE, Role.REFERENCE, Role.REFERENCE, None]
    assert request.left == 0
    request.ask(2)
    request.ask(0)
    assert request.apply(frame()).role is None  # type: ignore[union-attr]


def test_request_leaves_flats_and_darks_alone() -> None:
    request = ReferenceRequest()
    request.ask(1)
    rejected = Rejected("1", 0, Reason.EMPTY, "")
    assert request.apply(rejected) is rejected
    for role in (Role.FLAT, Role.DARK):
        assert request.apply(frame(role)).role is role  # type: ignore[union-attr]
        request.apply(SeriesStart("dark", 0.0, role=role))
        assert request.apply(frame(series_id="dark")).role is None  # type: ignore[union-attr]
        request.apply(SeriesEnd("dark"))
    assert request.left == 1
    assert request.apply(frame(series_id="dark")).role is Role.REFERENCE  # type: ignore[union-attr]


def test_last_error_keeps_what_is_worth_it(logged_errors: list[str]) -> None:
    log = structlog.get_logger("daemon.x")
    with LastError() as last:
        assert last.remark == Remark()
        log.info("series started")
        assert last.remark == Remark()
        log.warning("frame rejected", reason="empty", image=3)
        assert last.remark.text.startswith("frame rejected")
        assert not last.remark.is_error
        logging.getLogger("a.library").warning("of %s\nlines", "two")
        assert last.remark == Remark("of two lines")
        log.error("disk full")
        log.warning("a consequence")
        assert last.remark == Remark("disk full", is_error=True)
    log.error("after it")
    assert last.remark.text == "disk full"
    record = logging.LogRecord("x", logging.ERROR, "", 0, "x" * 9999, None, None)
    last.emit(record)
    assert len(last.remark.text) == 500


def test_last_error_reads_the_events_of_our_log() -> None:
    last = LastError()
    event = {"event": "frame rejected", "reason": "empty", "level": "warning", "_record": 1}
    last.emit(logging.LogRecord("x", logging.WARNING, "", 0, event, None, None))
    assert last.remark.text == "frame rejected reason=empty"


class Daemon:
    """A reader and what it reads."""

    def __init__(self) -> None:
        self.account, self.control, self.phase = Account(), IntakeControl(), State.IDLE
        self.reader = StatusReader(
            self.account, self.control, 10.0, lambda: self.phase, Results, Remark
        )

    def read(self) -> Status:
        return self.reader.read()


def test_state(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon()
    assert daemon.read().state is State.IDLE
    daemon.account.series.announce()
    assert daemon.read().state is State.ACQUIRING
    daemon.account.series.begin("1")
    daemon.account.series.close("1")
    assert daemon.read().state is State.IDLE
    daemon.account.receive()
    assert daemon.read().state is State.ACQUIRING
    monkeypatch.setattr(daemon.account, "lag_s", lambda: 11.0)
    assert daemon.read().state is State.LAGGING
    daemon.control.pause()
    assert daemon.read().state is State.PAUSED
    for phase in (State.STARTING, State.STOPPING, State.FAULT):
        daemon.phase = phase
        assert daemon.read().state is phase


def test_lag_is_of_frames_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("daemon.accounting.time.monotonic", lambda: now_s)
    account = Account()
    assert account.lag_s() == 0
    for _ in range(4):
        account.receive()
        now_s += 1
    assert account.lag_s() == 4
    account.keep()
    account.reject(Reason.EMPTY)
    assert account.lag_s() == 2
    account.hold()  # the beamline holds it up, not the daemon
    assert account.lag_s() == 1
    account.write(1)
    assert account.lag_s() == 0
    account.release()
    now_s += 2
    assert account.lag_s() == 2
    account.write(1)
    assert account.lag_s() == 0
    assert account.totals().waiting == 0


def test_rates_are_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("daemon.status.time.monotonic", lambda: now_s)
    daemon = Daemon()
    for _ in range(30):
        status = daemon.read()
        now_s += 1
        daemon.account.receive()
        daemon.account.receive()
        daemon.account.keep()
    assert status.rate_in_hz == pytest.approx(2)
    assert status.rate_out_hz == pytest.approx(1)
    for _ in range(10):
        status = daemon.read()
        now_s += 1
    assert (status.rate_in_hz, status.rate_out_hz) == (0, 0)


def test_pause_makes_a_source_wait() -> None:
    """Through the intake: nothing is counted before it is taken in."""
    from daemon.channel import Channel
    from daemon.intake import Intake

    class Source:
        name = "a"

        def events(self, stop: threading.Event) -> Generator[Event]:
            yield from (SeriesStart("1", 0.0), frame(), SeriesEnd("1"))

    channel: Channel[Event] = Channel(10)
    account, control, stop = Account(), IntakeControl(), threading.Event()
    control.pause()
    control.references.ask(1)
    intake = Intake(channel, account, control=control)
    thread = threading.Thread(target=intake.read, args=(Source(), stop))
    thread.start()
    assert channel.get(0.3) is None
    assert account.totals().received == 0
    control.resume()
    thread.join(10)
    channel.close()
    start, taken, end = channel
    assert isinstance(start, SeriesStart)
    assert isinstance(taken, Frame)
    assert taken.role is Role.REFERENCE
    assert isinstance(end, SeriesEnd)
    assert (account.totals().received, account.series.open_count) == (1, 1)
