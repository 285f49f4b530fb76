"""Series that a PV opens, filled with the frames of detectors that know nothing of them."""

from __future__ import annotations

import numpy as np

from cade.frames import Beamline, Event, Frame, Reason, Rejected, Role, SeriesEnd, SeriesStart
from daemon.pv_series import PvSeries

PV_START = SeriesStart("epics-1", 5.0, role=Role.REFERENCE)
DETECTOR = SeriesStart("17", 4.0, 100, (3, 4), "uint16", None, Beamline(energy_ev=3e4))


def frame(image_id: int, series_id: str = "17") -> Frame:
    return Frame(series_id, image_id, np.zeros((3, 4), "u2"), 1.0)


def ids(events: list[Event]) -> list[tuple[str, int]]:
    return [(e.series_id, e.image_id) for e in events if isinstance(e, Frame | Rejected)]


def test_frames_get_the_series_of_the_pv_and_its_numbers() -> None:
    series = PvSeries()
    assert list(series.from_pv(PV_START)) == []
    assert list(series.from_source(DETECTOR)) == []
    start, first = series.from_source(frame(40))
    assert start == SeriesStart(
        "epics-1", 5.0, None, (3, 4), "uint16", Role.REFERENCE, Beamline(energy_ev=3e4)
    )
    rejected = Rejected("17", 41, Reason.MALFORMED, "")
    later = [e for event in (rejected, frame(42)) for e in series.from_source(event)]
    assert ids([first, *later]) == [("epics-1", 0), ("epics-1", 1), ("epics-1", 2)]
    assert list(series.from_source(SeriesEnd("17"))) == []
    assert list(series.from_pv(SeriesEnd("epics-1"))) == [SeriesEnd("epics-1")]


def test_the_optics_are_those_of_the_latest_start() -> None:
    """The detector is armed after the PV has risen, and may be armed again."""
    series = PvSeries()
    list(series.from_source(DETECTOR))
    list(series.from_pv(PV_START))
    list(series.from_source(SeriesStart("18", 6.0, beamline=Beamline(energy_ev=2e4))))
    start, _ = series.from_source(frame(0, "18"))
    assert isinstance(start, SeriesStart)
    assert start.beamline.energy_ev == 2e4
    assert (start.shape, start.dtype) == (None, None)


def test_a_loss_before_the_first_frame_does_not_fix_the_optics() -> None:
    series = PvSeries()
    list(series.from_pv(PV_START))
    events = list(series.from_source(Rejected("", -1, Reason.MALFORMED, "")))
    assert ids(events) == [("epics-1", 0)]
    list(series.from_source(DETECTOR))
    start, _ = series.from_source(frame(0))
    assert isinstance(start, SeriesStart)
    assert start.shape == (3, 4)


def test_a_series_without_frames_is_seen_as_well() -> None:
    series = PvSeries()
    list(series.from_pv(PV_START))
    assert list(series.from_pv(SeriesEnd("epics-1"))) == [PV_START, SeriesEnd("epics-1")]


def test_frames_outside_keep_their_own_series() -> None:
    series = PvSeries()
    list(series.from_source(DETECTOR))
    assert ids(list(series.from_source(frame(3)))) == [("17", 3)]
    list(series.from_pv(PV_START))
    list(series.from_pv(SeriesEnd("epics-1")))
    assert ids(list(series.from_source(frame(4)))) == [("17", 4)]


def test_a_repeat_takes_no_image_id() -> None:
    series = PvSeries()
    list(series.from_pv(SeriesStart("pv", 1.0)))
    events = [*series.from_source(frame(7))]
    events += series.from_source(Rejected("17", 7, Reason.REPEATED, "again"))
    events += series.from_source(Rejected("17", 8, Reason.WRONG_SHAPE, "odd"))
    events += series.from_source(frame(9))
    assert ids(events) == [("pv", 0), ("pv", -1), ("pv", 1), ("pv", 2)]


def test_the_detectors_series_count_while_the_pv_is_silent() -> None:
    series = PvSeries()
    assert list(series.from_source(DETECTOR, blind=True)) == []
    start, first = series.from_source(frame(0), blind=True)
    assert start == DETECTOR
    assert ids([first]) == [("17", 0)]
    assert not series.may_begin_with(frame(1))
    assert ids(list(series.from_source(frame(1)))) == [("17", 1)], "known again, level 0"
    rejected = Rejected("17", 2, Reason.MALFORMED, "")
    assert list(series.from_source(rejected)) == [rejected]
    assert list(series.from_source(SeriesEnd("17"))) == [SeriesEnd("17")]
    assert ids(list(series.from_source(frame(3), blind=True))) == [("17", 3)]


def test_the_pv_comes_back_while_the_detectors_series_runs() -> None:
    series = PvSeries()
    list(series.from_source(DETECTOR))
    list(series.from_source(frame(0), blind=True))
    assert list(series.from_pv(PV_START)) == [SeriesEnd("17")]
    start, taken = series.from_source(frame(1), blind=True)
    assert isinstance(start, SeriesStart)
    assert start.series_id == "epics-1"
    assert ids([taken]) == [("epics-1", 0)]
    assert list(series.from_source(SeriesEnd("17"))) == []
    list(series.from_pv(SeriesEnd("epics-1")))


def test_series_without_end_are_not_remembered_for_ever() -> None:
    series = PvSeries()
    for number in range(200):
        list(series.from_source(SeriesStart(str(number), 1.0)))
    assert ids(list(series.from_source(frame(0, "0"), blind=True))) == [("0", 0)]
    assert len(list(series.from_source(frame(0, "199"), blind=True))) == 2
