"""`cade evaluate` from the command line: files, resuming, regression, and a pair of one's own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from daemon.commands import main
from models.evaluation.unseen import shifted_pair
from simulator.pattern import reference_patterns

QUICK = ["evaluate", "--quick", "--tracker", "zncc", "--study", "sine", "--device", "cpu"]
SHAPE = (128, 160)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    stored = ["--store-numbers", str(folder / "numbers.json")]
    assert main([*QUICK, "--window", "9", "--window", "15", "--output", str(folder), *stored]) == 0
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with reference, sample, flat and truth of a shift of (0.4, −0.2) px."""
    folder = tmp_path_factory.mktemp("pair")
    pattern = reference_patterns(1, SHAPE, seed=12)[0]
    generator = torch.Generator().manual_seed(1)
    frames = shifted_pair(pattern, (0.4, -0.2), 1e4, 0.8, generator)
    flat = np.linspace(0.5, 1.5, SHAPE[1], dtype=np.float32) * np.ones(SHAPE, np.float32)
    for name, frame in zip(("reference", "sample"), frames, strict=True):
        tifffile.imwrite(folder / f"{name}.tif", frame.numpy() * flat)
    tifffile.imwrite(folder / "flat.tif", flat)
    tifffile.imwrite(folder / "dull.tif", np.random.default_rng(0).poisson(1e3, SHAPE))
    ones = np.ones(SHAPE, np.float32)
    np.savez(folder / "u.npz", ux_px=0.4 * ones, uy_px=-0.2 * ones)
    np.savez(folder / "small.npz", ux_px=ones[:9], uy_px=ones[:9])
    return folder


def of_pair(folder: Path, *names: str) -> list[str]:
    return [
        "evaluate", "--tracker", "zncc", "--device", "cpu",
        "--pair", *(str(folder / f"{name}.tif") for name in names),
    ]  # fmt: skip


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_figures_and_report(folder: Path) -> None:
    rows = table(folder / "sine.csv")
    assert [row["tracker"] for row in rows] == ["zncc 9", "zncc 15"]
    numbers = json.loads((folder / "evaluation.json").read_text())
    stated = numbers["trackers"]["zncc 15"]
    assert stated["parameters"]["window_px"] == 15
    assert stated["sine"][0]["rmse_px"] == float(rows[1]["rmse_px"])
    assert (folder / "sine.png").stat().st_size > 10_000
    page = (folder / "report.html").read_text()
    assert "zncc 15" in page
    assert "http" not in page


def test_what_is_finished_is_taken_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = sorted((folder / "studies").glob("*.json"))
    assert len(kept) == 2
    [fifteen] = [p for p in kept if "'window_px': 15" in p.read_text()]
    content = json.loads(fifteen.read_text())
    content["tables"]["sine"][0]["rmse_px"] = 123.0
    fifteen.write_text(json.dumps(content))
    again = folder / "again"
    (again / "studies").mkdir(parents=True)
    fifteen.rename(again / "studies" / fifteen.name)
    assert main([*QUICK, "--output", str(again)]) == 0
    assert "123" in capsys.readouterr().out  # not measured again
    stored = str(folder / "numbers.json")
    assert main([*QUICK, "--output", str(again), "--against", stored]) == 1
    assert "zncc 15: sine/all/rmse_px is 123" in capsys.readouterr().err


def test_pair_with_truth(pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--flat", str(pair / "flat.tif"), "--truth", str(pair / "u.npz")]
    output = ["--output", str(tmp_path)]
    assert main([*of_pair(pair, "reference", "sample"), *options, *output]) == 0
    assert "region without sample: rows" in capsys.readouterr().out
    [row] = table(tmp_path / "pair.csv")
    assert float(row["epe_px"]) < 0.1
    assert float(row["bias_x_px"]) < 0.02
    assert float(row["to_zncc_x_px"]) < 0.05
    with np.load(tmp_path / "pair_zncc_15.npz") as found:
        assert float(np.nanmedian(found["ux_px"])) == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize(
    ("names", "options", "code", "words"),
    [
        (("reference", "sample"), ("--truth", "small.npz"), 2, "do not belong to frames"),
        (("reference", "sample"), ("--window", "129"), 2, "larger than the frame"),
        (("reference", "sample"), ("--window", "14"), 2, "odd"),
        (("reference", "sample"), ("--tracker", "nothing"), 2, "known are cade, zncc"),
        (("reference", "sample"), ("--free-air", "0", "999", "0", "9"), 2, "no region"),
        (("reference", "sample"), ("--study", "sine"), 2, "leave it out with --pair"),
        (("reference", "dull"), (), 1, "the sample shows no speckle"),
        (("dull", "dull"), (), 1, "the reference shows no speckle"),
        (("reference", "missing"), (), 1, "does not exist"),
    ],
)
def test_pairs_that_are_refused(
    names: tuple[str, ...], options: tuple[str, ...], code: int, words: str, pair: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = [str(pair / o) if o.endswith(".npz") else o for o in options]
    assert main([*of_pair(pair, *names), *given]) == code
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--window", "131"], "larger than the smallest frame"),
        (["--window", "14"], "odd"),
        (["--tracker", "nothing"], "known are cade, zncc"),
        (["--tracker", "zncc"], "named twice"),
        (["--truth", "u.npz"], "belongs to --pair"),
        (["--update-card"], "--update-card needs --study shifts"),
        (["--against", "missing.json"], "holds no stored numbers"),
        (["--transmission", "1.5"], "must be at most 1"),
        (["--counts", "0"], "must be a positive number"),
    ],
)
def test_refused_before_anything_is_measured(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*QUICK, *options]) == 2
    assert words in capsys.readouterr().err


def test_numbers_of_other_options_are_not_compared(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = str(folder / "numbers.json")
    assert main([*QUICK, "--counts", "300", "--against", stored]) == 2
    assert "use the same options" in capsys.readouterr().err
