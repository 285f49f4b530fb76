"""`cade train`: options, what it writes, and what it refuses before hours are spent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from daemon.commands import main
from models.training import CHECKPOINT, LOG
from models.weights_file import sha256_of
from simulator.pair_set_writer import PairSetRequest, plan_pair_set, write_pair_set
from simulator.pattern_range import PAPER_RANGE
from simulator.pattern_set import PatternSetRequest, write_pattern_set

RECIPE = """
name = "tiny"
seed = 5
[network]
architecture = "cade"
options = { channels = [[4, 6], [4, 6]], blocks = [1, 1] }
[data]
patterns = 2
pattern_px = 48
crop_px = 32
[optimiser]
steps = 3
batch = 4
rate = 1e-3
average = 0.0
"""


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def train(*words: str | Path) -> int:
    return main(["train", *map(str, words), "--device", "cpu", "--threads", "1"])


def test_weights_card_and_a_second_training_from_them(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(recipe, "--output", first) == 0
    weights = first / "tiny.safetensors"
    assert f"weights  {weights}" in capsys.readouterr().out
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["training"]["steps"] == 3
    assert card["recipe"]["optimiser"]["batch"] == 4
    # A rate of nearly zero: what comes out is what went in.
    recipe.write_text(RECIPE.replace("1e-3", "1e-30").replace("seed = 5", "seed = 6"))
    assert train(recipe, "--output", second, "--from", weights) == 0
    card = json.loads((second / "tiny.json").read_text())
    parent = card["training"]["from"]
    assert parent["sha256"] == sha256_of(weights)
    assert parent["command"].startswith("cade train")
    assert f"--from {weights}" in card["command"]
    before, after = load_file(weights), load_file(second / "tiny.safetensors")
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-7, rtol=1e-6)


def test_from_weights_of_another_network(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(recipe, "--output", run, "--from", "cade") == 2
    said = capsys.readouterr().err
    assert said.startswith("cade: weights cade are of a cade with")
    assert "((4, 6), (4, 6))" in said
    assert train(recipe, "--output", run, "--from", "nothing") == 2
    assert "unknown weights 'nothing'" in capsys.readouterr().err
    assert not run.exists()


def test_paused_and_continued(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = (recipe, "--output", run, "--resume", "--pause-after", "1e-6")
    for step in (1, 2):
        assert train(*command) == 0
        assert f"paused   at step {step}" in capsys.readouterr().out
    assert train(*command) == 0
    assert train(*command) == 0
    assert "paused" not in capsys.readouterr().out.splitlines()[-2:]
    assert json.loads((run / "tiny.json").read_text())["training"]["steps"] == 3


CLAIM = """
name = "claim"
seed = 5
[network]
architecture = "cade"
[data]
patterns = 2
pattern_px = 48
crop_px = 32
[optimiser]
learns = ["claim"]
steps = 3
batch = 4
rate = 1e-2
loss_weights = [1.0]
sigma_weight = 1.0
"""


def test_sigma_alone_is_fitted_to_a_finished_displacement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, claim = tmp_path / "whole.toml", tmp_path / "claim.toml"
    network = "options = { channels = [[4, 6], [4, 6]], blocks = [1, 1], views = 2 }"
    small = CLAIM.replace('learns = ["claim"]\n', "").replace('"claim"', '"small"')
    whole.write_text(small.replace("[data]", f"{network}\n[data]"))
    claim.write_text(CLAIM)
    assert train(whole, "--output", tmp_path / "first") == 0
    weights = tmp_path / "first" / "small.safetensors"
    capsys.readouterr()
    assert train(claim, "--output", tmp_path / "second") == 2
    assert "--from" in capsys.readouterr().err
    command = ("--from", weights, "--name", "small", "--output", tmp_path / "second")
    assert train(claim, *command) == 0
    before, after = load_file(weights), load_file(tmp_path / "second" / "small.safetensors")
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(".claim." in name for name in changed)
    first, second = (
        json.loads((tmp_path / n / "small.json").read_text()) for n in ("first", "second")
    )
    assert second["recipe"] == first["recipe"]  # that of the displacement
    assert second["training"]["claim"]["optimiser"]["learns"] == ["claim"]
    assert second["options"]["views"] == 2


def test_another_batch_is_another_run(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(recipe, "--output", run, "--batch", "8") == 0
    card = json.loads((run / "tiny.json").read_text())
    assert card["recipe"]["optimiser"]["batch"] == 8
    assert card["training"]["steps"] == 2
    before = (run / CHECKPOINT).read_bytes()
    capsys.readouterr()
    assert train(recipe, "--output", run, "--resume") == 1
    assert "optimiser.batch is 8 there and 4 here" in capsys.readouterr().err
    assert (run / CHECKPOINT).read_bytes() == before


def test_stored_pairs_and_patterns(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    references, pairs = tmp_path / "references.h5", tmp_path / "pairs.h5"
    write_pattern_set(references, PatternSetRequest(PAPER_RANGE, 2, (48, 48), 5))
    write_pair_set(pairs, plan_pair_set(PairSetRequest(references, 6, 0, (32, 32), seed=9)))
    for name, option, file in (("a", "--data", pairs), ("b", "--patterns", references)):
        assert train(recipe, "--output", tmp_path / name, option, file) == 0
        card = json.loads((tmp_path / name / "tiny.json").read_text())
        assert f"{option} {file}" in card["command"]
        assert any(str(file) in line for line in card["limits"])
        assert not (tmp_path / name / "patterns.npy").exists()
    capsys.readouterr()
    both = ("--data", pairs, "--patterns", references)
    assert train(recipe, "--output", tmp_path / "c", *both) == 2
    assert "give one of them" in capsys.readouterr().err
    assert train(recipe, "--output", tmp_path / "c", "--data", references) == 1
    assert "references.h5" in capsys.readouterr().err
    assert not (tmp_path / "c" / LOG).exists()


@pytest.mark.parametrize("option", ["--minutes", "--pause-after", "--batch", "--threads"])
def test_numbers_must_be_positive(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    words = ["train", str(recipe), "--output", str(tmp_path / "run"), option, "0"]
    assert main(words) == 2
    assert f"{option} must be positive, not 0" in capsys.readouterr().err
