"""Noise, sine phantom, run time and the verdict, on frames that take no time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from cade.errors import UsageError
from models.evaluation.contenders import Wanted, contenders
from models.evaluation.figures import figures
from models.evaluation.noise import noise_study
from models.evaluation.outcome import ROWS, Outcome, Shelf, as_numbers, from_numbers
from models.evaluation.phantom import sine_found, sine_profile, sine_row, sine_scans
from models.evaluation.plan import FULL, QUICK, Plan
from models.evaluation.report import Report, html_page
from models.evaluation.run_time import run_time_study
from models.evaluation.shifts import SHIFTS_PX, ShiftRow, shift_study
from models.evaluation.spread import jackknife_error, standard_error
from models.evaluation.studies import STUDIES, Inputs
from models.evaluation.verdict import Results, comparisons, equal_resolution, sentences
from models.evaluation.window_sizes import WindowRow
from models.zncc_tracker import ZnccTracker
from simulator.pattern import reference_patterns

CPU = torch.device("cpu")
TINY = Plan(
    patterns=2, shift_patterns=2, few=2, pattern_px=96, patches_px=(16,), noise=(0.0, 0.06),
    windows_px=(9, 15), star_patterns=1, star_shape=(49, 250), window_star_patterns=1,
    window_star_shape=(49, 250), sides_px=(64, 96), repeats=1, sine_scans=1, sine_shape=(64, 384),
)  # fmt: skip


@pytest.fixture(scope="module")
def patterns() -> torch.Tensor:
    return reference_patterns(2, (96, 96), seed=12)


@pytest.fixture(scope="module")
def zncc() -> ZnccTracker:
    return ZnccTracker(CPU, 15)


def test_noise(patterns: torch.Tensor, zncc: ZnccTracker) -> None:
    rows = noise_study(zncc, patterns, noise=(0.0, 0.01, 0.06))
    assert [round(r.counts) for r in rows] == [100_000_000, 10_000, 278]
    assert rows[0].rmse_px < rows[2].rmse_px
    assert rows[0].limit_px < rows[1].limit_px < rows[2].limit_px < rows[2].epe_px
    assert all(r.epe_error_px > 0 for r in rows)


def test_a_part_of_the_shifts_finds_what_the_whole_finds(
    patterns: torch.Tensor, zncc: ZnccTracker
) -> None:
    whole = shift_study(zncc, patterns, shifts_px=SHIFTS_PX[4:7])
    [part] = shift_study(zncc, patterns, shifts_px=(0.5,))
    assert part == whole[1]
    assert part.relative_bias == pytest.approx(part.bias_px / 0.5)
    assert part.rmse_error_px > 0


def test_sine_phantom(zncc: ZnccTracker) -> None:
    found = sine_found(zncc, sine_scans(1, (64, 384)))
    row, profile = sine_row(found), sine_profile(found)
    assert row.rmse_px < 0.05
    assert row.rmse_rad == pytest.approx(row.rmse_px * 6e-6)  # 12 µm over 2 m
    assert row.rmse_error_px > 0
    assert max(r.truth_rad for r in profile) == pytest.approx(2e-6, rel=0.05)
    assert len(profile) == pytest.approx(1500 / 4, abs=6)  # the base in sample pixels
    correlation = torch.corrcoef(
        torch.tensor([[r.truth_px for r in profile], [r.found_px for r in profile]])
    )
    assert float(correlation[0, 1]) > 0.99  # of the same sign


def test_pixels_of_the_sine_that_are_invalid_count_as_zero(zncc: ZnccTracker) -> None:
    found = sine_found(zncc, sine_scans(1, (64, 384)))
    lost = dataclasses.replace(found, error_px=torch.full_like(found.error_px, torch.nan))
    row = sine_row(lost)
    assert row.valid_fraction == 0
    assert row.rmse_x_px == pytest.approx(float(found.truth_px.square().mean().sqrt()), rel=1e-4)


def test_run_time(patterns: torch.Tensor, zncc: ZnccTracker) -> None:
    rows = run_time_study(zncc, patterns[0], (48, 64), repeats=2)
    assert [r.side_px for r in rows] == [48, 64]
    for row in rows:
        assert row.device == "cpu"
        assert row.busy_s > 0
        assert row.px_per_busy_s == pytest.approx(row.side_px**2 / row.busy_s)


def test_statistics() -> None:
    assert standard_error([1.0, 3.0]) == pytest.approx(1.0)
    assert math.isnan(standard_error([1.0]))
    values = [1.0, 2.0, 6.0]
    jackknife = jackknife_error(3, lambda i: (sum(values) - values[i]) / 2)
    assert jackknife == pytest.approx(standard_error(values))


@pytest.mark.parametrize("plan", [QUICK, FULL])
def test_plans(plan: Plan) -> None:
    assert all(w % 2 and w <= plan.least_side_px for w in plan.windows_px)
    assert max(plan.windows_px) <= 50
    assert (plan.noise[0], plan.noise[-1]) == (0.0, 0.06)
    assert {256, 512, 768} <= set(plan.sides_px)
    assert plan.shift_patterns <= plan.patterns


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    [contender] = contenders(Wanted(("zncc",), devices=("cpu",)))
    inputs = Inputs(TINY, shifts_px=(0.0, 0.5))
    return {name: study(contender, inputs) for name, study in STUDIES.items()}


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_keeps_its_tables(
    name: str, outcomes: dict[str, Outcome], tmp_path: Path
) -> None:
    outcome = outcomes[name]
    shelf = Shelf(tmp_path)
    assert shelf.take((name, 1)) is None
    shelf.keep((name, 1), outcome)
    again = shelf.take((name, 1))
    assert again is not None
    for table, rows in outcome.tables.items():
        assert [as_numbers(r) for r in again.tables[table]] == [as_numbers(r) for r in rows]
    assert {k: v.shape for k, v in again.images.items()} == {
        k: v.shape for k, v in outcome.images.items()
    }
    assert shelf.take((name, 2)) is None


@pytest.mark.parametrize("damage", ["", "{", '{"tables": {"shifts": [{"wrong": 1}]}}', "[]"])
def test_what_is_damaged_is_measured_again(damage: str, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.keep("x", Outcome({"shifts": [ShiftRow(0.1, 0.2, 0.3)]}))
    [path] = tmp_path.glob("*.json")
    path.write_text(damage)
    assert shelf.take("x") is None


def test_rows_survive_json() -> None:
    row = ShiftRow(0.1, 0.2, 0.3)
    assert as_numbers(row)["relative_bias"] is None
    assert math.isnan(from_numbers("shifts", as_numbers(row)).relative_bias)
    assert set(ROWS) >= {"shifts", "patches", "star", "noise", "windows", "run_time", "sine"}


def windows(*rows: tuple[int, float, float]) -> list[WindowRow]:
    return [WindowRow(w, rmse, rmse, px, True, 0.001, 0.001, 0.5) for w, rmse, px in rows]


def results(peer_rmse: float) -> Results:
    shifts: Sequence[ShiftRow] = [ShiftRow(0.3, 0.010, 0.001, rmse_error_px=0.001)]
    theirs = [ShiftRow(0.3, peer_rmse, 0.002, rmse_error_px=0.001)]
    return {
        "cade": {"shifts": shifts, "windows": windows((0, 0.010, 20.0))},
        "zncc 15": {"shifts": theirs, "windows": windows((7, 0.08, 19.0), (49, 0.004, 150.0))},
    }


@pytest.mark.parametrize(
    ("rmse", "said"),
    [(0.02, "ahead in 1 of 1."), (0.005, "NOT ahead at shift 0.3 px: 0.01 against 0.005 px."),
     (0.0099, "within the statistical error")],
)  # fmt: skip
def test_verdict_says_where_the_network_is_not_ahead(rmse: float, said: str) -> None:
    found = comparisons(results(rmse), ["cade"])
    assert not [c for c in found if c.where == "window 49"]  # far above any useful resolution
    first = next(s for s in sentences(found) if s.startswith("constant shifts, RMSE"))
    assert said in first


def test_window_of_equal_resolution() -> None:
    [line] = equal_resolution(results(0.02), ["cade"])
    assert "is 7 px" in line
    coarse = dict(results(0.02)) | {"cade": {"windows": windows((0, 0.01, 10.0))}}
    [line] = equal_resolution(coarse, ["cade"])
    assert "no window measured" in line


@pytest.fixture(scope="module")
def page(outcomes: dict[str, Outcome]) -> str:
    tables: dict[str, Sequence[object]] = {}
    images = {}
    for name in ("shifts", "star", "sine", "windows"):
        tables.update(outcomes[name].tables)
        images.update(outcomes[name].images)
    both = {"<b>cade</b>": tables, "zncc 15": tables}
    compared = comparisons(both, ["<b>cade</b>"])
    pictures = figures(both, {"zncc 15": images})
    assert set(pictures) == {"accuracy", "star", "sine", "windows"}
    return html_page(Report("A & B", both, ["<b>cade</b>"], compared, pictures, {"extent": "x"}))


def test_report_needs_nothing_but_itself(page: str) -> None:
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page
    assert "<script" not in page
    assert "color-scheme: light dark" in page


def test_report_holds_the_paper_the_tables_and_what_is_not_ahead(page: str) -> None:
    assert "NOT ahead" in page  # a tracker is not ahead of itself
    assert all(f"<h2>{title}</h2>" in page for title in ("Accuracy", "Sine phantom", "Window size"))
    assert "<td>56</td>" in page
    assert "<td>68</td>" in page
    assert "A &amp; B" in page
    assert "<b>cade</b>" not in page


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(("nothing",)), "known are cade, zncc"),
        (Wanted(("zncc",), windows=(14,)), "odd"),
        (Wanted(("zncc", "zncc")), "named twice"),
        (Wanted(("cade",), weights=("nothing",)), "unknown weights"),
        (Wanted(("zncc",), devices=("nothing",)), "cannot be used"),
    ],
)
def test_refused(wanted: Wanted, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        contenders(wanted)


def test_labels_tell_contenders_apart() -> None:
    found = contenders(Wanted(("cade", "zncc"), windows=(9, 15), devices=("cpu",)))
    assert [c.label for c in found] == ["cade", "zncc 9", "zncc 15"]
    found = contenders(Wanted(("zncc",), devices=("cpu", "auto")))
    assert [c.label for c in found] == ["zncc 15 @ cpu", "zncc 15 @ auto"]
