"""What a retraining draws from, is judged by, and may be called."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from cade.errors import CadeError, UsageError
from models import load_tracker
from models.architectures import build_network
from models.promotion import check_new_name, promote
from models.recipe import OptimiserRecipe, Recipe
from models.retraining import Comparison, MixedPairs, RetrainingPlan, retraining_recipe
from models.retraining.comparison import Score, references_epe
from models.retraining.measured_pattern import upsampled
from models.retraining.mixture import measured_pairs, measured_settings, mixed_pairs
from models.training import pair_settings
from models.weights_file import Card, find_weights, own_weights, read_card, save_weights
from models.zncc_tracker import ZnccTracker
from simulator.pairs import PairSample
from tests.speckle import speckle

OPTIONS = {"channels": ((4, 6), (4, 6)), "blocks": (1, 1)}
CARD = Card(
    name="some",
    architecture="cade",
    options={"channels": [[4, 6], [4, 6]], "blocks": [1, 1]},
    sha256="",
    command="cade train",
    recipe={"optimiser": {"rate": 4e-3, "batch": 6, "epochs": 5}, "data": {"counts": [100, 200]}},
    training={},
    numbers={},
    limits=[],
)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """New weights with their card, still in the folder of their run."""
    path = tmp_path / "run" / "own.safetensors"
    save_weights(build_network("cade", OPTIONS), path, dataclasses.replace(CARD, name="own"))
    return path


def pieces(count: int = 3) -> torch.Tensor:
    stack = [upsampled(torch.from_numpy(speckle((80, 88), s) / 1000).float()) for s in range(count)]
    return torch.stack(stack)


def recipe(batch: int = 6) -> Recipe:
    found = retraining_recipe(RetrainingPlan("own", steps=7), CARD, 48)
    return dataclasses.replace(found, optimiser=dataclasses.replace(found.optimiser, batch=batch))


def test_recipe_is_the_parents_but_gentler() -> None:
    found = recipe()
    assert found.name == "own"
    assert found.network.options == OPTIONS
    assert found.optimiser.rate == pytest.approx(4e-4)
    assert (found.optimiser.batch, found.optimiser.shards, found.optimiser.epochs) == (6, 1, 0)
    assert found.steps == 7
    assert (found.data.counts, found.data.crop_px) == ((100, 200), 48)
    stated = retraining_recipe(RetrainingPlan("own", rate=0.01), CARD, 48)
    assert stated.optimiser.rate == 0.01


def test_parent_without_a_recipe_takes_the_defaults() -> None:
    bare = dataclasses.replace(CARD, recipe={})
    found = retraining_recipe(RetrainingPlan("own"), bare, 48).optimiser
    assert found.loss_weights == OptimiserRecipe().loss_weights


@pytest.mark.parametrize("recipe_", [{"data": 5}, {"optimiser": {"rate": "fast"}}, {"data": [1]}])
def test_card_with_a_recipe_that_is_none(recipe_: dict[str, object]) -> None:
    with pytest.raises(CadeError, match="recipe in their card cannot be continued"):
        retraining_recipe(RetrainingPlan("own"), dataclasses.replace(CARD, recipe=recipe_), 48)


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"share": 0.0}, "--share"),
        ({"share": 1.1}, "--share"),
        ({"steps": 0}, "--steps"),
        ({"patterns": 0}, "--patterns"),
        ({"rate": 0.0}, "--rate"),
        ({"rate": 2.0}, "--rate"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_plan_out_of_range(changes: dict[str, Any], option: str) -> None:
    RetrainingPlan("own").check()
    RetrainingPlan("own", share=1.0).check()
    with pytest.raises(UsageError, match=option):
        dataclasses.replace(RetrainingPlan("own"), **changes).check()


@pytest.mark.parametrize(
    ("pairs", "share", "own"), [(12, 0.5, 6), (3, 0.5, 2), (12, 0.01, 1), (12, 0.99, 11), (4, 1, 4)]
)
def test_share_of_pairs(pairs: int, share: float, own: int) -> None:
    assert measured_pairs(pairs, share) == own


class Constant:
    """A source whose pairs carry a number."""

    def __init__(self, value: float, pairs: int) -> None:
        self.value, self.pairs = value, pairs

    def batch(self, step: int, shards: range) -> PairSample:
        image = torch.full((self.pairs, 4, 4), self.value + step)
        return PairSample(image, image, torch.stack([image, image], dim=1), image)


def test_mixed_batches_hold_both() -> None:
    batch = MixedPairs([Constant(10, 2), Constant(20, 1)]).batch(3, range(1))
    for field in dataclasses.fields(PairSample):
        values = getattr(batch, field.name).flatten(1)[:, 0]
        assert values.tolist() == [13, 13, 23], field.name


def test_measured_pairs_keep_contrast_and_borders_and_get_the_measured_noise() -> None:
    settings = measured_settings(recipe(), 500.0)
    assert settings.visibility is None
    assert not settings.periodic
    assert settings.counts == (250.0, 1000.0)
    assert settings.transmission == pair_settings(recipe()).transmission


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_batches_for_the_trainer(share: float) -> None:
    source = mixed_pairs(recipe(), pieces(), pieces(), counts=500.0, share=share)
    first = source.batch(0, range(1))
    assert first.reference.shape == (6, 48, 48)
    assert torch.equal(first.sample, source.batch(0, range(1)).sample)
    assert not torch.equal(first.sample, source.batch(1, range(1)).sample)
    own = mixed_pairs(recipe(), pieces(), None, counts=500.0, share=1.0).batch(0, range(1))
    assert own.reference.shape == (6, 48, 48)


def scores(*values: float) -> Comparison:
    return Comparison(Score(*values[:2]), Score(*values[2:]))


def test_verdict() -> None:
    assert not scores(0.05, 0.06, 0.05, 0.06).complaints()
    assert not scores(0.05, 0.06, 0.0509, 0.0611).complaints()
    assert not scores(0.05, 0.06, 0.03, 0.04).complaints()
    [references] = scores(0.05, 0.06, 0.052, 0.03).complaints()
    assert references == "+4.0% on held-back references (EPE 0.0520 px instead of 0.0500 px)"
    [simulated] = scores(0.05, 0.06, 0.03, 0.066).complaints()
    assert simulated.startswith("+10.0% on the simulator's test set")
    assert len(scores(0.05, 0.06, float("nan"), 0.1).complaints()) == 2


def test_references_are_judged_by_the_same_pairs_for_all() -> None:
    tracker = ZnccTracker(torch.device("cpu"), 9)
    error = references_epe(tracker, pieces(1), 2000.0, 64)
    assert error == references_epe(tracker, pieces(1), 2000.0, 64)
    assert 0.02 < error < 0.4
    assert references_epe(tracker, pieces(1), 100.0, 64) > error


def test_promoted_weights_are_found_by_name(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    assert own_weights(folder) == ()
    check_new_name("own", folder)
    target = promote(made, folder, "own")
    assert target == find_weights("own", folder)
    assert target.read_bytes() == made.read_bytes()
    assert read_card(target) == read_card(made)
    assert sorted(p.name for p in folder.iterdir()) == ["own.json", "own.safetensors"]
    assert own_weights(folder) == ("own",)
    tracker = load_tracker("cade", device="cpu", weights="own", weights_folder=folder)
    assert tracker.provenance.weights == "own"
    assert tracker.provenance.weights_sha256 == read_card(made).sha256


def test_a_name_is_taken_once(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    before = promote(made, folder, "own").read_bytes()
    with pytest.raises(UsageError, match=r"own\.safetensors: exists, and weights are never"):
        check_new_name("own", folder)
    made.write_bytes(b"other")
    with pytest.raises(CadeError, match=r"own\.json: was made meanwhile"):
        promote(made, folder, "own")
    assert (folder / "own.safetensors").read_bytes() == before


def test_a_card_alone_takes_the_name_but_is_not_found(tmp_path: Path) -> None:
    """What a kill in the middle of promotion leaves."""
    (tmp_path / "own.json").write_text("{}")
    assert own_weights(tmp_path) == ()
    with pytest.raises(UsageError, match=r"own\.json: exists"):
        check_new_name("own", tmp_path)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../own", "a/b", "own.safetensors", "own.json", " own", "-own", "a b"]
)
def test_names_that_are_no_words(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be a word"):
        check_new_name(name, tmp_path)


def test_names_of_shipped_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shipped"):
        check_new_name("cade", tmp_path)


def test_what_fails_in_the_middle_leaves_nothing(made: Path, tmp_path: Path) -> None:
    """The device behind the file that is written is really full."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "own.part").symlink_to("/dev/full")
    with pytest.raises(CadeError, match="cannot be written"):
        promote(made, folder, "own")
    assert not list(folder.iterdir())
    promote(made, folder, "own")


def test_a_folder_that_cannot_be(made: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CadeError, match="cannot be written"):
        promote(made, tmp_path / "file" / "weights", "own")


def test_shipped_names_come_before_own_ones(made: Path, tmp_path: Path) -> None:
    for ending in (".safetensors", ".json"):
        (tmp_path / f"cade{ending}").write_bytes(made.with_suffix(ending).read_bytes())
    assert find_weights("cade", tmp_path).parent != tmp_path


def test_unknown_names_list_the_own_ones(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    with pytest.raises(UsageError, match=r"unknown weights 'mine'.* nor in .*weights$"):
        find_weights("mine", folder)
    promote(made, folder, "own")
    with pytest.raises(UsageError, match=r"unknown weights 'mine'.* nor one of .*weights: own$"):
        find_weights("mine", folder)
    with pytest.raises(UsageError, match=r"unknown weights '\.\./weights/own'"):
        find_weights("../weights/own", folder)
    with pytest.raises(UsageError, match="unknown weights 'own'"):
        find_weights("own")


def test_weights_without_their_card_are_not_found(made: Path, tmp_path: Path) -> None:
    made.with_suffix(".json").unlink()
    assert own_weights(made.parent) == ()
