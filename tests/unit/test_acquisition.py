"""When a series starts and ends, by levels and roles whose times are given."""

from __future__ import annotations

import pytest

from cade.frames import Role, SeriesEnd, SeriesStart
from daemon.sources.acquisition import Acquisition
from daemon.sources.epics_roles import UNKNOWN, StatedRole

BETWEEN = StatedRole(problem="neither in nor out")


def steps(acquisition: Acquisition, now_s: float) -> list[type]:
    return [type(event) for event in acquisition.step(now_s)]


def pending(acquisition: Acquisition) -> bool:
    return acquisition.is_pending


def make(settle_s: float = 0.0, wait_s: float = 0.0, *, states_role: bool = False) -> Acquisition:
    return Acquisition(settle_s, wait_s, 0.0, states_role=states_role)


def started(acquisition: Acquisition, now_s: float) -> SeriesStart:
    start = list(acquisition.step(now_s))[-1]
    assert isinstance(start, SeriesStart)
    return start


def test_series_ends_after_settling() -> None:
    acquisition = make(settle_s=1.0)
    acquisition.level(on=False, now_s=0.0)
    assert steps(acquisition, 0.0) == []
    acquisition.level(on=True, now_s=1.0)
    assert pending(acquisition)
    assert steps(acquisition, 1.0) == [SeriesStart]
    assert not pending(acquisition)
    assert steps(acquisition, 1.0) == []
    acquisition.level(on=False, now_s=2.0)
    acquisition.level(on=False, now_s=2.9)  # an update without a change
    assert steps(acquisition, 2.99) == []
    assert steps(acquisition, 3.0) == [SeriesEnd]
    assert not acquisition.is_open


def test_new_series_while_the_old_one_settles() -> None:
    acquisition = make(settle_s=1.0)
    acquisition.level(on=True, now_s=0.0)
    [first] = acquisition.step(0.0)
    acquisition.level(on=False, now_s=1.0)
    acquisition.level(on=True, now_s=1.1)
    end, second = acquisition.step(1.1)
    assert end == SeriesEnd(first.series_id)
    assert isinstance(second, SeriesStart)
    assert second.series_id != first.series_id
    assert steps(acquisition, 9.0) == []


@pytest.mark.parametrize(("level", "expected"), [(True, []), (False, [SeriesEnd])])
def test_connection_comes_back(level: bool, expected: list[type]) -> None:
    acquisition = make()
    acquisition.level(on=True, now_s=0.0)
    assert steps(acquisition, 0.0) == [SeriesStart]
    acquisition.level_lost()
    assert steps(acquisition, 50.0) == []
    acquisition.level(on=level, now_s=50.0)
    assert steps(acquisition, 50.0) == expected


def test_the_level_of_an_ioc_that_has_started_again_ends_nothing_while_frames_come() -> None:
    acquisition = make(settle_s=1.0, wait_s=5.0)
    acquisition.level(on=True, now_s=0.0)
    assert steps(acquisition, 0.0) == [SeriesStart]
    acquisition.level_lost()
    acquisition.level(on=False, now_s=10.0)
    assert list(acquisition.step(15.0, last_frame_s=12.0)) == []
    assert list(acquisition.step(16.9, last_frame_s=12.0)) == []
    [end] = acquisition.step(17.0, last_frame_s=12.0)
    assert isinstance(end, SeriesEnd)


def test_a_new_rise_after_the_ioc_has_started_again_is_a_new_series() -> None:
    acquisition = make(settle_s=1.0, wait_s=5.0)
    acquisition.level(on=True, now_s=0.0)
    started(acquisition, 0.0)
    acquisition.level_lost()
    acquisition.level(on=False, now_s=10.0)
    acquisition.level(on=True, now_s=11.0)
    events = list(acquisition.step(11.0, last_frame_s=11.0))
    assert [type(event) for event in events] == [SeriesEnd, SeriesStart]
    acquisition.level(on=False, now_s=12.0)  # this one ends as usual
    assert [type(event) for event in acquisition.step(13.0, last_frame_s=13.0)] == [SeriesEnd]


def test_nothing_ends_or_starts_while_files_are_written() -> None:
    acquisition = make()
    acquisition.level(on=True, now_s=0.0)
    started(acquisition, 0.0)
    acquisition.level(on=False, now_s=1.0)
    acquisition.level(on=True, now_s=2.0)
    assert list(acquisition.step(3.0, held=True)) == []
    assert acquisition.is_pending
    assert steps(acquisition, 3.0) == [SeriesEnd, SeriesStart]


def test_end_on_request() -> None:
    acquisition = make(settle_s=1.0)
    acquisition.level(on=True, now_s=0.0)
    started(acquisition, 0.0)
    acquisition.end(1.0)
    assert steps(acquisition, 1.0) == [SeriesEnd]
    acquisition.level(on=True, now_s=2.0)
    assert steps(acquisition, 9.0) == []  # though the level is still 1
    acquisition.level(on=False, now_s=9.0)
    acquisition.level(on=True, now_s=9.1)
    assert steps(acquisition, 9.1) == [SeriesStart]


def test_start_waits_for_the_role() -> None:
    acquisition = make(wait_s=5.0, states_role=True)
    acquisition.level(on=True, now_s=0.0)
    assert steps(acquisition, 4.9) == []
    acquisition.role(StatedRole(Role.FLAT), 4.9)
    assert started(acquisition, 4.9).role is Role.FLAT
    acquisition.role(UNKNOWN, 10.0)
    acquisition.role(UNKNOWN, 12.0)  # said again, which does not make it wait longer
    acquisition.level(on=False, now_s=10.0)
    acquisition.level(on=True, now_s=10.0)
    # The old one lasts until wait_s has passed as well: its level was never lost.
    assert steps(acquisition, 14.9) == [SeriesEnd]
    start = started(acquisition, 15.0)
    assert start.role is None  # what the PV stated before it was lost does not hold
    assert start.role_problem == ""


def test_a_start_without_role_waits_for_a_late_value_only() -> None:
    acquisition = make(settle_s=1.0, wait_s=50.0, states_role=True)
    acquisition.role(BETWEEN, 0.0)
    acquisition.level(on=True, now_s=10.0)
    assert steps(acquisition, 10.9) == []
    acquisition.role(StatedRole(Role.SAMPLE), 10.9)
    assert started(acquisition, 10.9).role is Role.SAMPLE
    acquisition.level(on=False, now_s=20.0)
    acquisition.role(BETWEEN, 20.0)
    assert steps(acquisition, 21.0) == [SeriesEnd]
    acquisition.level(on=True, now_s=30.0)
    assert steps(acquisition, 30.9) == []
    start = started(acquisition, 31.0)
    assert (start.role, start.role_problem) == (None, "neither in nor out")


def test_a_level_that_has_fallen_while_the_start_waited() -> None:
    acquisition = make(settle_s=1.0, wait_s=5.0, states_role=True)
    acquisition.level(on=True, now_s=0.0)
    acquisition.level(on=False, now_s=0.5)
    assert acquisition.is_pending
    acquisition.role(StatedRole(Role.DARK), 3.0)
    assert started(acquisition, 3.0).role is Role.DARK
    assert steps(acquisition, 3.9) == []
    assert steps(acquisition, 4.0) == [SeriesEnd]
    assert steps(acquisition, 9.0) == []


def test_a_level_that_is_lost_while_the_start_waited() -> None:
    acquisition = make(settle_s=1.0, wait_s=5.0, states_role=True)
    acquisition.level(on=True, now_s=0.0)
    acquisition.level_lost()
    assert started(acquisition, 5.0).role is None
    assert steps(acquisition, 50.0) == []
    acquisition.level(on=True, now_s=50.0)
    acquisition.level(on=False, now_s=60.0)
    assert steps(acquisition, 61.0) == [SeriesEnd]
