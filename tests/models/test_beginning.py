"""Runs that begin with the weights of another one, and runs of a part of the network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from cade.errors import UsageError
from models.architectures import build_network
from models.recipe import NetworkRecipe, Recipe
from models.training.beginning import choose_learning, initial_weights, network_of
from models.weights_file import Card, save_weights

SMALL: dict[str, Any] = {"channels": ((4, 6), (4, 6)), "blocks": (1, 1)}
LARGER: dict[str, Any] = {"channels": ((4, 6), (4, 6), (4, 6)), "blocks": (1, 1, 2), "views": 2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    network = build_network("cade", SMALL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path: Path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    card = Card("small", "cade", SMALL, "", "cade train", {}, {}, {}, [])
    save_weights(network, path, card)
    return str(path)


def begun(options: dict[str, Any], weights: str) -> Any:
    recipe = Recipe("x", network=NetworkRecipe("cade", options))
    network = build_network("cade", options)
    network.load_state_dict(initial_weights(network, recipe, weights))
    return network.eval()


def test_the_same_network_goes_on(weights: str) -> None:
    frames = torch.randn(2, 1, 1, 32, 32)
    once = begun(SMALL, weights)(*frames)[-1].u_px
    twice = begun(SMALL | {"views": 4}, weights)  # views change nothing in the weights
    twice.views = ((),)
    torch.testing.assert_close(twice(*frames)[-1].u_px, once)


def test_a_further_pass_begins_as_the_last_one(weights: str) -> None:
    small, larger = begun(SMALL, weights), begun(LARGER, weights)
    given, grown = small.state_dict(), larger.state_dict()
    for key, value in given.items():
        if ".claim." not in key:
            assert torch.equal(grown[key], value), key
    assert torch.equal(grown["passes.2.enter.weight"], given["passes.1.enter.weight"])
    assert torch.equal(grown["passes.2.claim.head.weight"], given["passes.1.claim.head.weight"])
    assert not grown["passes.2.encode.0.1.second.weight"].any()  # the block it has more: identity
    frames = torch.randn(2, 1, 1, 32, 32)
    small.train()
    larger.train()
    for before, after in zip(small(*frames), larger(*frames), strict=False):
        torch.testing.assert_close(after.u_px, before.u_px)


@pytest.mark.parametrize(
    "options",
    [{"channels": ((4, 8), (4, 6)), "blocks": (1, 1)}, {"channels": ((4, 6),), "blocks": (1,)}],
)
def test_other_weights_are_refused(options: dict[str, Any], weights: str) -> None:
    with pytest.raises(UsageError, match="small"):
        begun(options, weights)


def test_another_architecture_is_refused(weights: str) -> None:
    recipe = Recipe("x", network=NetworkRecipe("strainnet-f", {"width": 0.05}))
    network = build_network("strainnet-f", {"width": 0.05})
    with pytest.raises(UsageError, match="strainnet-f"):
        initial_weights(network, recipe, weights)


def test_the_network_of_weights(weights: str) -> None:
    assert network_of(weights) == NetworkRecipe("cade", SMALL)
    assert dataclasses.asdict(network_of(weights))["architecture"] == "cade"


def test_parts() -> None:
    network = build_network("cade", SMALL)
    choose_learning(network, [])
    assert all(p.requires_grad for p in network.parameters())
    choose_learning(network, ["claim"])
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert learning
    assert all(name.startswith("passes.1.claim.") for name in learning)
    choose_learning(network, ["passes.0", "claim"])
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {name.split(".")[1] for name in learning} == {"0", "1"}
    with pytest.raises(UsageError, match=r"passes\.7"):
        choose_learning(network, ["passes.7"])
