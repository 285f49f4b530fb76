"""What PVs say about series and frames, known, missing, or wrong."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import ValidationError

from cade.frames import Beamline
from cade.reading import Metadata, Reading
from daemon.settings import EpicsSettings
from daemon.sources.epics_metadata import MetadataByPv
from daemon.sources.pv_board import INVALID, UNDEFINED, PvBoard
from daemon.sources.pv_report import PvReport

DETECTOR = Beamline(energy_ev=1e4, distance_m=3.0, detector="eiger")


class Board:
    """A board that is told by the test what Channel Access would tell it."""

    def __init__(self, *items: dict[str, Any]) -> None:
        self.settings = EpicsSettings.model_validate({"metadata": items})
        self.board = PvBoard(self.settings.pvs)
        self.report = PvReport()
        self.metadata = MetadataByPv(self.settings.metadata, self.board, self.report)

    def say(
        self, pv: str, value: object, units: str = "", severity: int = 0, status: int = 9
    ) -> None:
        self.board._on_connection(pvname=pv, conn=True)
        stamp = time.time() - 5.0
        self.board._on_value(
            pvname=pv, value=value, timestamp=stamp, severity=severity, status=status
        )
        self.board._on_properties(pvname=pv, units=units)

    def series(self) -> tuple[Metadata, Beamline]:
        return self.metadata.of_series(DETECTOR)

    def only(self) -> Reading:
        [reading] = self.series()[0].readings
        return reading


def test_values_come_before_those_of_the_detector() -> None:
    board = Board(
        {"pv": "mono", "use": "energy"},
        {"pv": "z", "use": "distance", "units": "mm"},
        {"pv": "cam", "use": "exposure"},
        {"pv": "dx", "use": "diffuser"},
        {"pv": "name", "use": "detector"},
        {"pv": "s", "use": "sample_name"},
        {"pv": "p", "use": "proposal"},
    )
    board.say("mono", 30.0, "keV")
    board.say("z", 2500.0, "furlong")  # the setting knows better
    board.say("cam", 0.2, "s")
    board.say("dx", -1.0, "mm")
    board.say("name", "pco")
    board.say("s", "moth 3")
    board.say("p", 20260001)
    metadata, beamline = board.series()
    assert beamline == Beamline(
        energy_ev=30e3, distance_m=2.5, exposure_s=0.2, diffuser_m=-1e-3, detector="pco"
    )
    assert (metadata.sample_name, metadata.proposal) == ("moth 3", "20260001")
    assert metadata.columns == ()
    energy = metadata.readings[0]
    assert (energy.name, energy.pv, energy.value, energy.units) == ("energy", "mono", 30.0, "keV")
    assert energy.connected
    assert energy.age_s == pytest.approx(5.0, abs=2.0)
    assert metadata.readings[1].units == "mm"
    assert board.report.counts() == {}


def test_what_is_not_there_changes_nothing() -> None:
    board = Board(
        {"pv": "mono", "use": "energy"}, {"pv": "s", "use": "sample_name"}, {"pv": "T:a.RBV"}
    )
    metadata, beamline = board.series()
    assert beamline == DETECTOR
    assert metadata.sample_name == ""
    assert [r.name for r in metadata.readings] == ["energy", "sample_name", "T_a.RBV"]
    assert {(r.value, r.connected, r.problem, r.age_s) for r in metadata.readings} == {
        (None, False, "is not connected", None)
    }


def test_lost_again_its_age_is_known_but_not_its_value() -> None:
    board = Board({"pv": "mono", "use": "energy", "when": "frame"})
    board.say("mono", 30.0, "keV")
    board.board._on_connection(pvname="mono", conn=False)
    reading = board.only()
    assert (reading.value, reading.connected, reading.problem) == (None, False, "is not connected")
    assert reading.age_s is not None
    assert reading.units == "keV"
    board.board._on_connection(pvname="mono", conn=True)
    assert board.only().problem == "has sent no value yet"
    [of_frame], monitor = board.metadata.of_frame()
    assert (of_frame.value, of_frame.connected, monitor) == (None, True, None)
    assert board.series()[1] == DETECTOR


@pytest.mark.parametrize(
    ("use", "value", "units", "severity", "problem"),
    [
        ("energy", "thirty", "keV", 0, "is the text 'thirty', not a number"),
        ("energy", [1.0, 2.0], "keV", 0, "is an array of 2 values, not one number"),
        ("energy", float("nan"), "keV", 0, "is nan, not a finite number"),
        ("energy", 30.0, "keV", INVALID, "is in alarm INVALID"),
        ("energy", 30.0, "keV", 2, ""),
        ("energy", -3.0, "keV", 0, "is -3 keV, which is out of range for use = 'energy'"),
        ("energy", 30.0, "parsec", 0, "has units 'parsec'; set `units` to one of"),
        ("energy", 30.0, "", 0, "has no units; set `units` to one of"),
        ("proposal", "../etc", "", 0, "is '../etc', which is no name of a folder"),
        ("proposal", "..", "", 0, "is '..', which is no name of a folder"),
        ("proposal", "a" * 101, "", 0, "which is no name of a folder"),
        ("proposal", "mx-1_2.3", "", 0, ""),
        ("sample_name", ["a", "b"], "", 0, "is an array of 2 values, not one text"),
        (None, 3.0, "parsec", 0, ""),
        (None, "three", "", 0, "is the text 'three', not a number"),
    ],
)
def test_values_that_cannot_be_used(
    use: str | None, value: object, units: str, severity: int, problem: str
) -> None:
    board = Board({"pv": "a", "use": use})
    board.say("a", value, units, severity)
    metadata, beamline = board.series()
    [reading] = metadata.readings
    assert bool(reading.problem) == bool(problem)
    assert problem in reading.problem
    assert board.report.counts() == ({"a": 1} if problem else {})
    if problem:
        assert beamline == DETECTOR
        assert metadata.proposal == ""


@pytest.mark.parametrize(
    ("value", "monitor"), [(0.2, 0.2), (0.0, None), (-1.0, None), ("x", None), (7, 7.0)]
)
def test_monitor_of_a_frame(value: object, monitor: float | None) -> None:
    board = Board({"pv": "x", "when": "frame"}, {"pv": "ring", "use": "monitor"})
    board.say("ring", value, "mA")
    readings, found = board.metadata.of_frame()
    assert found == monitor
    assert [r.name for r in readings] == ["x", "monitor"]
    assert [r.name for r in board.series()[0].columns] == ["x", "monitor"]


def test_a_record_that_nobody_has_processed() -> None:
    """Its value may have been set all the same, so that it counts."""
    board = Board({"pv": "a", "use": "energy"})
    board.say("a", 30.0, "keV", INVALID, UNDEFINED)
    assert board.series()[1].energy_ev == 30e3
    reading = board.only()
    assert (reading.value, reading.alarm, reading.problem) == (30.0, "INVALID", "")


def test_bytes_of_any_encoding() -> None:
    board = Board({"pv": "a", "use": "distance"})
    board.say("a", 3.0, b"\xb5m".decode("latin-1"))
    assert board.series()[1].distance_m == pytest.approx(3e-6)
    board.say("a", 3.0, "µm".encode().decode("latin-1"))
    assert board.only().units == "µm"


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([{"pv": "a", "use": "energy"}, {"pv": "b", "use": "energy", "name": "x"}], "two PVs have"),
        ([{"pv": "a"}, {"pv": "a"}], 'two datasets are called "a"'),
        (
            [{"pv": "a", "when": "frame"}, {"pv": "b", "name": "a_age"}],
            'two datasets are called "a_age"',
        ),
        ([{"pv": "a", "name": "../x"}], "match pattern"),
        ([{"pv": "a", "name": "x/y"}], "match pattern"),
        ([{"pv": "a", "kind": "text", "units": "m"}], "a text has no units"),
        ([{"pv": "a", "kind": "text", "use": "energy"}], "is a number: leave kind out"),
        ([{"pv": "a", "kind": "number", "use": "proposal"}], "is a text: leave kind out"),
        ([{"pv": ""}], "match pattern"),
        ([{"pv": "€"}], "match pattern"),
        ([{}], "Field required"),
    ],
)
def test_tables_that_cannot_be(items: list[dict[str, str]], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        EpicsSettings.model_validate({"metadata": items})
