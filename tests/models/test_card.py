"""The shipped weights are what their cards say: measured again, on patterns they never saw."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.cade_tracker import CadeTracker
from models.evaluation import (
    PatchRow,
    ShiftRow,
    mean_ratio,
    patch_study,
    shift_study,
    unseen_patterns,
)
from models.evaluation.unseen import UNSEEN_SEED
from models.recipe import default_recipe, recipe_table, tuples
from models.weights_file import Card, find_weights, read_card, sha256_of, shipped_weights
from simulator.deformation import PATCHES_PX

PATTERNS = 10
MOST_RATIO = 2.0
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(find_weights("cade"))


@pytest.fixture(scope="module")
def measured() -> list[PatchRow]:
    """Ten patterns, six patch sizes: sixty pairs."""
    return patch_study(CadeTracker("cade", CPU), unseen_patterns(PATTERNS))


@pytest.mark.parametrize("name", shipped_weights())
def test_every_card_belongs_to_its_file(name: str) -> None:
    path = find_weights(name)
    assert read_card(path).name == name
    assert read_card(path).sha256 == sha256_of(path)


def test_default_weights_are_shipped() -> None:
    assert "cade" in shipped_weights()


def test_the_card_says_how_the_weights_were_made(card: Card) -> None:
    assert card.command.startswith("cade train")
    assert tuples(card.recipe) == tuples(recipe_table(default_recipe()))
    assert card.training["steps"] > 0
    assert card.limits


def test_the_patterns_are_unseen(card: Card) -> None:
    assert card.recipe["seed"] != UNSEEN_SEED


def test_numbers(card: Card, measured: list[PatchRow]) -> None:
    """The card's twelve patterns begin with these ten: what differs is the other two."""
    stated = [PatchRow(**row) for row in card.numbers["patches"]]
    assert tuple(row.patch_px for row in stated) == PATCHES_PX
    assert sum(row.pairs for row in measured) >= 60
    for said, found in zip(stated, measured, strict=True):
        assert found.epe_px == pytest.approx(said.epe_px, rel=0.15)
        assert found.limit_px == pytest.approx(said.limit_px, rel=0.15)
        assert found.within_one_sigma == pytest.approx(said.within_one_sigma, abs=0.05)
        assert found.valid_fraction == pytest.approx(said.valid_fraction, abs=0.02)
    assert card.numbers["ratio"] == pytest.approx(mean_ratio(stated))


def test_error_is_at_most_twice_the_limit(card: Card, measured: list[PatchRow]) -> None:
    assert mean_ratio(measured) <= MOST_RATIO
    assert card.numbers["ratio"] <= MOST_RATIO


def test_sigma_is_believable(measured: list[PatchRow]) -> None:
    """68 % of a normal deviation lie within one sigma; smooth maps allow more than it claims."""
    assert all(0.6 < row.within_one_sigma < 0.95 for row in measured)


def test_shifts(card: Card) -> None:
    stated: list[dict[str, Any]] = card.numbers["shifts"]
    picked = [ShiftRow(**row) for row in stated if row["shift_px"] in {0.0, 0.5, 1.0}]
    assert len(picked) == 3
    found = shift_study(
        CadeTracker("cade", CPU), unseen_patterns(2), shifts_px=tuple(r.shift_px for r in picked)
    )
    for said, row in zip(picked, found, strict=True):
        assert row.rmse_px == pytest.approx(said.rmse_px, rel=0.5, abs=0.005)
        assert row.bias_px < max(2 * said.bias_px, 0.01)
