"""Events of all sources into one queue."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from cade.frames import Event, Frame, Reason, Rejected, SeriesEnd, SeriesStart
from daemon.accounting import Account
from daemon.channel import Channel
from daemon.intake import Intake
from daemon.pv_series import PvSeries

FRAME = Frame("1", 0, np.zeros((3, 4), "u2"), 1.0)
SERIES: tuple[Event, ...] = (
    SeriesStart("1", 2.0),
    FRAME,
    Rejected("", -1, Reason.MALFORMED, ""),
    SeriesEnd("1"),
)


@dataclass(frozen=True)
class Given:
    """A source whose events are known."""

    name: str
    given: tuple[Event, ...] = SERIES

    def events(self, stop: threading.Event) -> Generator[Event]:
        yield from self.given


def intake(
    channel: Channel[Event], *, several: bool = False, pv_series: PvSeries | None = None
) -> tuple[Intake, Account]:
    account = Account()
    return Intake(channel, account, several=several, pv_series=pv_series), account


def taken(channel: Channel[Event]) -> list[Event]:
    channel.close()
    return list(channel)


def test_events_pass_and_frames_and_losses_are_counted() -> None:
    channel: Channel[Event] = Channel(10)
    reader, account = intake(channel)
    reader.read(Given("stream a"), threading.Event())
    reader.read_pv(Given("epics"), threading.Event())  # without a PV it means nothing
    assert taken(channel) == list(SERIES)
    assert account.totals().received == 2


def test_equal_series_of_two_detectors_are_told_apart() -> None:
    channel: Channel[Event] = Channel(10)
    reader, _ = intake(channel, several=True)
    for name in ("stream a", "stream b"):
        reader.read(Given(name), threading.Event())
    names = [event.series_id for event in taken(channel)]
    assert names == [
        "1 of stream a", "1 of stream a", "", "1 of stream a",
        "1 of stream b", "1 of stream b", "", "1 of stream b",
    ]  # fmt: skip


def test_a_pv_makes_the_series() -> None:
    channel: Channel[Event] = Channel(10)
    reader, account = intake(channel, several=True, pv_series=PvSeries())
    stop = threading.Event()
    reader.read_pv(Given("epics", (SeriesStart("epics-1", 3.0),)), stop)
    reader.read(Given("stream a"), stop)
    reader.read_pv(Given("epics", (SeriesEnd("epics-1"),)), stop)
    events = taken(channel)
    assert [type(event) for event in events] == [SeriesStart, Frame, Rejected, SeriesEnd]
    assert {event.series_id for event in events} == {"epics-1"}
    assert account.totals().received == 2


def test_a_frame_that_is_faster_than_its_pv_waits() -> None:
    channel: Channel[Event] = Channel(10)
    series = PvSeries()
    reader = Intake(channel, Account(), pv_series=series, patience_s=60.0)
    stop = threading.Event()
    thread = threading.Thread(target=reader.read, args=(Given("stream a"), stop))
    thread.start()
    reader.read_pv(Given("epics", (SeriesStart("epics-1", 3.0),)), stop)
    thread.join()
    late = dataclasses.replace(FRAME, image_id=9)
    reader.read_pv(Given("epics", (SeriesEnd("epics-1"),)), stop)
    reader.read(Given("stream a", (late,)), stop)  # of the series that has ended: no waiting
    events = taken(channel)
    assert [event.series_id for event in events[:-1]] == ["epics-1"] * 4
    assert events[-1] is late


def test_only_one_frame_waits_in_vain() -> None:
    channel: Channel[Event] = Channel(10)
    reader = Intake(channel, Account(), pv_series=PvSeries(), patience_s=0.01)
    for number in range(3):
        reader.read(
            Given("a", (dataclasses.replace(FRAME, series_id=str(number)),)), threading.Event()
        )
        reader._patience_s = 1000.0
    assert [event.series_id for event in taken(channel)] == ["0", "1", "2"]


@dataclass
class Asked:
    """What an acquire PV may say."""

    is_pending: bool = False
    level_known: bool = True


def test_frames_wait_while_a_series_is_about_to_begin() -> None:
    channel: Channel[Event] = Channel(10)
    acquire = Asked(is_pending=True)
    reader = Intake(channel, Account(), pv_series=PvSeries(), acquire=acquire)  # no patience
    stop = threading.Event()
    thread = threading.Thread(target=reader.read, args=(Given("stream a"), stop))
    thread.start()
    reader.read_pv(Given("epics", (SeriesStart("epics-1", 3.0),)), stop)
    thread.join()
    assert [event.series_id for event in taken(channel)] == ["epics-1"] * 3


def test_frames_do_not_wait_longer_than_the_daemon_runs() -> None:
    channel: Channel[Event] = Channel(10)
    acquire = Asked(is_pending=True)
    reader = Intake(channel, Account(), pv_series=PvSeries(), acquire=acquire)
    stop = threading.Event()
    stop.set()
    reader.read(Given("stream a", (FRAME,)), stop)
    assert taken(channel) == [FRAME]


def test_nothing_is_lost_while_the_pv_is_silent() -> None:
    channel: Channel[Event] = Channel(10)
    reader = Intake(channel, Account(), pv_series=PvSeries(), acquire=Asked(level_known=False))
    reader.read(Given("stream a"), threading.Event())
    assert taken(channel) == list(SERIES)


class Stamps:
    """Labels that can be recognised."""

    def start(self, start: SeriesStart, stop: threading.Event, *, with_role: bool) -> SeriesStart:
        return dataclasses.replace(start, role_problem=f"with role: {with_role}")

    def frame(self, frame: Frame) -> Frame:
        return dataclasses.replace(frame, monitor=7.0)


def test_labels_of_a_detectors_series() -> None:
    channel: Channel[Event] = Channel(10)
    reader = Intake(channel, Account(), labels=Stamps())
    reader.read(Given("stream a"), threading.Event())
    reader.read_pv(Given("epics", ()), threading.Event())
    start, frame, _, _ = taken(channel)
    assert isinstance(start, SeriesStart)
    assert start.role_problem == "with role: True"
    assert isinstance(frame, Frame)
    assert frame.monitor == 7.0


def test_labels_of_a_series_that_has_its_role_from_a_pv() -> None:
    channel: Channel[Event] = Channel(10)
    reader = Intake(channel, Account(), labels=Stamps(), pv_series=PvSeries())
    stop = threading.Event()
    reader.read_pv(Given("epics", (SeriesStart("epics-1", 3.0),)), stop)
    reader.read(Given("stream a"), stop)
    start, *_ = taken(channel)
    assert isinstance(start, SeriesStart)
    assert start.role_problem == "with role: False"
