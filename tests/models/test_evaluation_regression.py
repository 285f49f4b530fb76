"""The stored numbers of the quick evaluation, a part of them measured again.

`tests/data/evaluation.json` is written by `cade evaluate --quick --tracker cade --weights cade
--weights cade-accurate --tracker zncc --tracker umpa --store-numbers tests/data/evaluation.json`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from cade.errors import CadeError, UsageError
from models.evaluation.contenders import Contender, Wanted, contenders
from models.evaluation.patches import patch_study
from models.evaluation.plan import QUICK
from models.evaluation.regression import Number, numbers, store_numbers, stored_numbers, worse
from models.evaluation.shifts import ShiftRow
from models.evaluation.studies import STUDIES, Inputs

STORED = Path(__file__).parents[1] / "data" / "evaluation.json"
TRACKERS = ("cade", "cade-accurate", "zncc 15", "umpa 15")
SHIFT_PX, PATCH_PX = 0.5, 16


@pytest.fixture(scope="module")
def stored() -> list[Number]:
    found, settings = stored_numbers(STORED)
    assert settings == {"quick": True, "counts": 1000.0, "transmission": 0.9}
    return found


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return Inputs(QUICK, shifts_px=(SHIFT_PX,))


@pytest.fixture(scope="module")
def measured(inputs: Inputs) -> list[Number]:
    weights = ("cade", "cade-accurate")
    wanted = Wanted(("cade", "zncc", "umpa"), weights=weights, devices=("cpu",))
    found = contenders(wanted)
    assert tuple(c.label for c in found) == TRACKERS
    return [number for contender in found for number in measure(contender, inputs)]


def measure(contender: Contender, inputs: Inputs) -> list[Number]:
    """A shift, a patch size and the sine phantom, on the frames of the quick evaluation."""
    tables = dict(STUDIES["shifts"](contender, inputs).tables)
    patterns = inputs.patterns[: QUICK.patterns]
    tables["patches"] = patch_study(
        contender.tracker, patterns, **inputs.light, patches_px=(PATCH_PX,)
    )
    tables |= STUDIES["sine"](contender, inputs).tables
    return numbers({contender.label: tables})


def test_every_tracker_has_all_numbers(stored: list[Number]) -> None:
    assert tuple(dict.fromkeys(n.tracker for n in stored)) == TRACKERS
    for tracker in TRACKERS:
        tables = {n.name.split("/")[0] for n in stored if n.tracker == tracker}
        assert tables == {"shifts", "patches", "noise", "windows", "star", "sine"}
    assert all(0 < n.error < n.value for n in stored)


def test_nothing_is_worse(stored: list[Number], measured: list[Number]) -> None:
    known = {(n.tracker, n.name) for n in stored}
    assert all((n.tracker, n.name) in known for n in measured)
    assert worse(measured, stored) == []


def test_every_worse_number_is_found(stored: list[Number], measured: list[Number]) -> None:
    for index, number in enumerate(measured):
        [known] = [n for n in stored if (n.tracker, n.name) == (number.tracker, number.name)]
        bad = dataclasses.replace(number, value=known.value + 1.01 * known.error)
        [line] = worse([*measured[:index], bad, *measured[index + 1 :]], stored)
        assert number.tracker in line
        assert number.name in line


def test_not_a_number_is_worse(measured: list[Number]) -> None:
    assert worse([dataclasses.replace(measured[0], value=math.nan)], measured)


def test_a_number_changed_by_hand_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    content = json.loads(STORED.read_text())
    content["numbers"][7]["value"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(CadeError, match="changed by hand"):
        stored_numbers(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": "", "numbers": [{}]}'])
def test_what_holds_no_numbers(text: str, tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="holds no stored numbers"):
        stored_numbers(path)


def test_numbers_are_stored_as_they_are(tmp_path: Path) -> None:
    rows = [ShiftRow(0.5, 0.01, 0.001, rmse_error_px=0.002), ShiftRow(1.0, 0.02, 0.001)]
    found = numbers({"x": {"shifts": rows}})
    assert found[0] == Number("x", "shifts/0.5/rmse_px", 0.01, 0.002)
    assert found[1].error == pytest.approx(0.0004)  # where the spread is unknown
    store_numbers(tmp_path / "numbers.json", found, {"quick": False})
    assert stored_numbers(tmp_path / "numbers.json") == (found, {"quick": False})
