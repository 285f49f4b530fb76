"""Batches of which one part comes from measured and the other from simulated patterns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from models.recipe import Recipe
from models.training import FreshPairs, PairSource, pair_settings
from simulator.pairs import PairSample, PairSettings

NOISE_RANGE = 2.0
"""Noise is re-applied from the measured N0 divided by this to N0 times this."""


class MixedPairs:
    """A source of batches that joins those of other sources."""

    def __init__(self, sources: Sequence[PairSource]) -> None:
        self._sources = tuple(sources)

    def batch(self, step: int, shards: range) -> PairSample:
        """The batch of a step: that of the first source, then that of the next."""
        parts = [source.batch(step, shards) for source in self._sources]
        return PairSample(
            **{
                field.name: torch.cat([getattr(part, field.name) for part in parts])
                for field in dataclasses.fields(PairSample)
            }
        )


def measured_settings(recipe: Recipe, counts: float) -> PairSettings:
    """As the recipe's, but with the references' own contrast and noise about the measured one."""
    return dataclasses.replace(
        pair_settings(recipe),
        visibility=None,
        counts=(counts / NOISE_RANGE, counts * NOISE_RANGE),
        periodic=False,
    )


def mixed_pairs(
    recipe: Recipe,
    measured: torch.Tensor,
    simulated: torch.Tensor | None,
    *,
    counts: float,
    share: float,
) -> MixedPairs:
    """A source of batches for a recipe, on the device of the patterns.

    Args:
        recipe: batch, crop and what is drawn.
        measured: pieces of references `(P, 2h, 2w)`; they do not join up at their borders.
        simulated: periodic patterns `(P, 2h, 2w)`; None where `share` is 1.
        counts: N0 of the references.
        share: of the pairs that come from measured patterns.
    """
    pairs = recipe.optimiser.batch // recipe.optimiser.shards
    own = measured_pairs(pairs, share)
    crop = recipe.data.crop_px
    sources: list[PairSource] = [
        FreshPairs(
            measured,
            crop,
            measured_settings(recipe, counts),
            seed=recipe.seed,
            shard_pairs=own,
        )
    ]
    if simulated is not None and own < pairs:
        settings = pair_settings(recipe)
        sources.append(
            FreshPairs(simulated, crop, settings, seed=recipe.seed + 1, shard_pairs=pairs - own)
        )
    return MixedPairs(sources)


def measured_pairs(pairs: int, share: float) -> int:
    """How many of so many pairs are measured: at least one, and not all unless asked for."""
    return pairs if share >= 1 else min(max(1, round(share * pairs)), max(1, pairs - 1))
