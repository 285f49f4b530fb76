"""Which reference serves: never across a mismatch, and by time as the settings say."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from cade.frames import Beamline, Reason
from daemon.references.choice import Choice, Fitting, Refusal, choose, fitting
from daemon.references.conditions import Conditions, known_conditions
from daemon.references.file import ReferenceSummary
from daemon.settings import GeometrySettings, ReferenceSettings

SHAPE = (6, 8)
TAKEN = Conditions("eiger", 3e4, 0.1, 2.0, math.inf, 5e-3)


def stored(name: str = "r", time_s: float = 100.0, **values: Any) -> ReferenceSummary:
    shape = values.pop("shape", SHAPE)
    conditions = dataclasses.replace(TAKEN, **values)
    return ReferenceSummary(name, time_s, shape, 1, "", conditions, ())


def refused(found: Fitting | Choice | Refusal) -> Refusal:
    refusal = found.refusal if isinstance(found, Fitting) else found
    assert isinstance(refusal, Refusal)
    return refusal


MISMATCHES: dict[str, tuple[dict[str, Any], dict[str, Any], Reason]] = {  # just too far, just not
    "shape": ({"shape": (8, 6)}, {"shape": SHAPE}, Reason.REFERENCE_SHAPE),
    "detector": ({"detector": "pilatus"}, {"detector": ""}, Reason.REFERENCE_DETECTOR),
    "energy": ({"energy_ev": 30_032.0}, {"energy_ev": 30_029.0}, Reason.REFERENCE_ENERGY),
    "exposure": ({"exposure_s": 0.106}, {"exposure_s": 0.105}, Reason.REFERENCE_EXPOSURE),
    "distance": ({"distance_m": 2.03}, {"distance_m": 2.02}, Reason.REFERENCE_DISTANCE),
    "source": ({"source_distance_m": 50.0}, {"source_distance_m": None}, Reason.REFERENCE_DISTANCE),
    "diffuser": ({"diffuser_m": 5.0011e-3}, {"diffuser_m": 5.0009e-3}, Reason.REFERENCE_DIFFUSER),
}


@pytest.mark.parametrize("kind", MISMATCHES)
@pytest.mark.parametrize("choice", ["before", "nearest", "interpolated", "pinned"])
def test_a_mismatch_never_serves_whatever_the_choice(kind: str, choice: str) -> None:
    far, near, reason = MISMATCHES[kind]
    settings = ReferenceSettings.model_validate(
        {"choice": choice, "pinned": "r" if choice == "pinned" else ""}
    )
    refusal = refused(fitting([stored(**far)], SHAPE, TAKEN, settings))
    assert refusal.reason is reason
    assert refusal.detail.startswith("reference r ")
    assert fitting([stored(**near)], SHAPE, TAKEN, settings).refusal is None
    both = fitting([stored("other", 50.0, **near), stored(**far)], SHAPE, TAKEN, settings)
    if choice != "pinned":
        assert [summary.reference_id for summary in both.summaries] == ["other"]


def test_tolerances_are_settings() -> None:
    settings = ReferenceSettings(
        energy_tolerance=0.1, exposure_tolerance=0.5, distance_tolerance=0, diffuser_tolerance_m=1
    )
    other = stored(energy_ev=27.1e3, exposure_s=0.051, diffuser_m=-0.9)
    assert fitting([other], SHAPE, TAKEN, settings).summaries == (other,)
    slightly = stored(distance_m=2.0 + 1e-9)
    reason = refused(fitting([slightly], SHAPE, TAKEN, settings)).reason
    assert reason is Reason.REFERENCE_DISTANCE


def test_what_is_not_known_is_no_mismatch() -> None:
    settings = ReferenceSettings()
    assert fitting([stored()], SHAPE, Conditions(), settings).refusal is None
    unknown = ReferenceSummary("r", 0.0, SHAPE, 1, "", Conditions(), ())
    assert fitting([unknown], SHAPE, TAKEN, settings).refusal is None


def test_the_refusal_is_about_the_reference_that_comes_nearest() -> None:
    summaries = [
        stored("wrong diffuser", 1.0, diffuser_m=0.0),
        stored("wrong energy", 2.0, energy_ev=1e4),
        stored("wrong shape", 3.0, shape=(9, 9)),
    ]
    settings = ReferenceSettings()
    assert "wrong diffuser" in refused(fitting(summaries, SHAPE, TAKEN, settings)).detail
    assert "wrong energy" in refused(fitting(summaries[1:], SHAPE, TAKEN, settings)).detail


def test_nothing_at_all() -> None:
    refusal = refused(fitting([], SHAPE, TAKEN, ReferenceSettings()))
    assert refusal.reason is Reason.NO_REFERENCE
    assert "6 x 8 pixels yet: take one" in refusal.detail
    pinned = ReferenceSettings(choice="pinned", pinned="gone")
    refusal = refused(fitting([stored()], SHAPE, TAKEN, pinned))
    assert (refusal.reason, "gone is not in the store" in refusal.detail) == (
        Reason.NO_REFERENCE,
        True,
    )


def chosen(choice: str, time_s: float, *times_s: float, **settings: Any) -> Choice | Refusal:
    wanted = ReferenceSettings.model_validate({"choice": choice, **settings})
    summaries = tuple(stored(f"{t:g}", t) for t in times_s)
    return choose(Fitting(summaries, None), time_s, wanted)


@pytest.mark.parametrize(
    ("choice", "time_s", "expected"),
    [
        ("before", 10.0, "10"),
        ("before", 19.9, "10"),
        ("before", 99.0, "30"),
        ("before", 5.0, "10"),  # there is none before: the first after
        ("nearest", 14.9, "10"),
        ("nearest", 15.1, "20"),
        ("nearest", 5.0, "10"),
        ("interpolated", 10.0, "10"),
        ("interpolated", 10.01, "10"),
        ("interpolated", 12.5, "0.750*10 + 0.250*20"),
        ("interpolated", 19.99, "20"),
        ("interpolated", 5.0, "10"),
    ],
)
def test_by_time(choice: str, time_s: float, expected: str) -> None:
    found = chosen(choice, time_s, 10, 20, 30)
    assert isinstance(found, Choice)
    assert found.reference_id == expected
    assert not found.provisional


@pytest.mark.parametrize(
    ("choice", "provisional"), [("before", False), ("nearest", True), ("interpolated", True)]
)
def test_a_later_one_may_serve_better(choice: str, provisional: bool) -> None:
    found = chosen(choice, 40.0, 10, 20, 30)
    assert isinstance(found, Choice)
    assert (found.reference_id, found.provisional) == ("30", provisional)


def test_of_one_time_the_one_kept_last_serves() -> None:
    summaries = (stored("first", 10.0), stored("second", 10.0))
    found = choose(Fitting(summaries, None), 10.0, ReferenceSettings())
    assert isinstance(found, Choice)
    assert found.reference_id == "second"


def test_age() -> None:
    found = chosen("before", 12.0, 10, max_age_s=2.0)
    assert isinstance(found, Choice)
    assert found.age_s == 2
    refusal = refused(chosen("before", 12.1, 10, max_age_s=2.0))
    assert refusal.reason is Reason.REFERENCE_OLD
    assert refusal.detail == "reference 10 is 2 s from the sample, more than max_age_s = 2"
    # Too old before, but not after.
    found = chosen("before", 18.5, 10, 20, max_age_s=2.0)
    assert isinstance(found, Choice)
    assert found.reference_id == "20"
    found = chosen("before", 99.0, 10, max_age_s=2.0, when_old="warn")
    assert isinstance(found, Choice)
    assert found.age_s == 89
    assert isinstance(chosen("pinned", 99.0, 10, max_age_s=2.0, pinned="10"), Choice)
    far = chosen("interpolated", 12.0, 10, 30)
    assert isinstance(far, Choice)
    assert far.age_s == 18


@pytest.mark.parametrize("values", [{"choice": "pinned"}, {"pinned": "20260131T120000Z-00000000"}])
def test_pinned_needs_an_id_and_the_other_way_round(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="need each other"):
        ReferenceSettings.model_validate(values)


def test_conditions_are_settings_before_metadata() -> None:
    said = Beamline(2e4, 1e-5, 1.0, 30.0, 0.2, "pilatus", 1e-3)
    assert known_conditions(GeometrySettings(), said) == Conditions(
        "pilatus", 2e4, 0.2, 1.0, 30.0, 1e-3
    )
    settings = GeometrySettings(energy_ev=3e4, distance_m=2.0, source_distance_m=math.inf)
    assert known_conditions(settings, said) == Conditions("pilatus", 3e4, 0.2, 2.0, math.inf, 1e-3)
    assert known_conditions(GeometrySettings(), Beamline()) == Conditions()
