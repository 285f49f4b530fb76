"""What a run begins with: the weights of another one, and which of them it may change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from cade.errors import UsageError
from models.architectures import Network
from models.cade_network import CadeNetwork
from models.recipe import NetworkRecipe, Recipe, tuples
from models.weights_file import find_weights, load_weights, read_card

INFERENCE_OPTIONS = {"views"}
"""Options of networks that change nothing in their weights."""
CLAIM_ALONE = ("claim",)
"""What learns where sigma is fitted to a displacement that is finished."""


def initial_weights(network: Network, recipe: Recipe, name: str) -> dict[str, torch.Tensor]:
    """The weights of a shipped name or file, for the recipe's network.

    Raises:
        UsageError: they are of another architecture or have other options, and are not the first
            passes of the recipe's network either.
    """
    given, card = load_weights(name)
    wanted = recipe.network
    if card.architecture == wanted.architecture:
        if _of_weights(tuples(card.options)) == _of_weights(wanted.options):
            return dict(given.state_dict())
        if isinstance(given, CadeNetwork) and isinstance(network, CadeNetwork):
            grown = _grown(given.state_dict(), network.state_dict(), len(given.passes))
            if grown is not None:
                return grown
    raise UsageError(
        f"weights {name} are of a {card.architecture} with {tuples(card.options)}, recipe "
        f"{recipe.name!r} is about a {wanted.architecture} with {wanted.options}; take the "
        f"recipe they were trained with, or other weights"
    )


def network_of(name: str) -> NetworkRecipe:
    """The architecture and options of weights, for a recipe that leaves them open."""
    card = read_card(find_weights(name))
    return NetworkRecipe(card.architecture, tuples(card.options))


def _of_weights(options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k not in INFERENCE_OPTIONS}


def _grown(
    given: dict[str, torch.Tensor], fresh: dict[str, torch.Tensor], passes: int
) -> dict[str, torch.Tensor] | None:
    """A network of more passes: each new one begins as the last given one, where shapes allow.

    None where the given passes are not the first ones of the larger network.
    """
    last = f"passes.{passes - 1}."
    for key, value in given.items():
        # The claim belongs to the last pass, and so to another one in the larger network.
        if ".claim." not in key and (key not in fresh or fresh[key].shape != value.shape):
            return None
    grown = {}
    for key, value in fresh.items():
        of_last = last + key.split(".", 2)[2]
        found = given.get(key, given.get(of_last))
        grown[key] = found if found is not None and found.shape == value.shape else value
    return grown


def choose_learning(network: nn.Module, parts: Sequence[str]) -> None:
    """Only parameters within these parts learn; all do where there are none.

    Raises:
        UsageError: the network has no such part.
    """
    if not parts:
        return
    for part in parts:
        if not any(_within(name, part) for name, _ in network.named_parameters()):
            raise UsageError(f"optimiser.learns: the network has no part {part!r}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(_within(name, part) for part in parts))


def _within(name: str, part: str) -> bool:
    return f".{part}." in f".{name}"
