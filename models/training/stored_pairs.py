"""Training on a stored set of pairs, as the paper did."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from cade.errors import UsageError
from models.recipe import Recipe
from simulator.pair_set import PairSet, open_pair_set
from simulator.pairs import PairSample
from simulator.seeds import seeded_generator


@dataclass(frozen=True, slots=True, eq=False)
class StoredPairs:
    """Pairs of a set, shuffled anew for every epoch; `shard_pairs` for every one of `shards`."""

    pairs: PairSet
    seed: int
    shards: int
    shard_pairs: int
    device: torch.device

    def batch(self, step: int, shards: range) -> PairSample:
        """The pairs of these shards."""
        places = [
            (step * self.shards + shard) * self.shard_pairs + pair
            for shard in shards
            for pair in range(self.shard_pairs)
        ]
        read = self.pairs.read(self._rows(places))
        fields = (getattr(read, field.name) for field in dataclasses.fields(read))
        return PairSample(*(field.to(self.device) for field in fields))

    def _rows(self, places: list[int]) -> list[int]:
        """Which pairs come at places in the endless sequence of epochs."""
        count = self.pairs.rows
        orders = {
            epoch: torch.randperm(count, generator=seeded_generator(self.seed, epoch)).tolist()
            for epoch in {place // count for place in places}
        }
        return [orders[place // count][place % count] for place in places]


def stored_pairs(recipe: Recipe, device: torch.device) -> StoredPairs:
    """The pairs of the set that a recipe names.

    Raises:
        CadeError: the set cannot be read.
        UsageError: its frames or their number are not the recipe's.
    """
    data, options = recipe.data, recipe.optimiser
    pairs = open_pair_set(Path(data.stored))
    if pairs.shape != (data.crop_px, data.crop_px):
        raise UsageError(
            f"data.crop_px is {data.crop_px}, but the pairs of {data.stored} are "
            f"{pairs.shape[0]} × {pairs.shape[1]} px"
        )
    if options.epochs and data.epoch_pairs != pairs.rows:
        raise UsageError(
            f"data.epoch_pairs is {data.epoch_pairs}, but {data.stored} holds {pairs.rows} pairs"
        )
    return StoredPairs(pairs, recipe.seed, options.shards, options.batch // options.shards, device)


def with_stored_pairs(recipe: Recipe, path: Path) -> Recipe:
    """The recipe, trained on the pairs of a set instead of fresh ones; an epoch is the set.

    Raises:
        CadeError: the set cannot be read.
    """
    rows = open_pair_set(path).rows
    data = dataclasses.replace(recipe.data, stored=str(path), epoch_pairs=rows)
    return dataclasses.replace(recipe, data=data)
