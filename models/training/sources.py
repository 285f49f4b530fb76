"""Where the pairs of a batch come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from models.recipe import Recipe
from simulator.deformation import COARSE_PATCH_PX, PAPER, DeformationSettings
from simulator.draws import Draws
from simulator.pairs import PairSample, PairSettings, make_pairs
from simulator.seeds import seeded_generator


class PairSource(Protocol):
    """Batches on the device.

    A shard's pairs depend on the step and the shard alone: so a run can be continued anywhere, and
    does not depend on how many processes share it.
    """

    def batch(self, step: int, shards: range) -> PairSample:
        """The pairs of these shards, each in equal number, without waiting for the device."""


@dataclass(frozen=True, slots=True, eq=False)
class FreshPairs:
    """Pairs made for every batch, of `crop_px`² px, `shard_pairs` for every shard.

    `patterns` are `(P, 2H, 2W)` on the device, two samples a pixel, of mean one.
    """

    patterns: torch.Tensor
    crop_px: int
    settings: PairSettings
    seed: int
    shard_pairs: int

    def batch(self, step: int, shards: range) -> PairSample:
        """The pairs of these shards."""
        device = self.patterns.device
        keys = ((self.seed, step, shard) for shard in shards)
        draws = Draws(tuple(seeded_generator(*key, device=device) for key in keys))
        shape = (self.crop_px, self.crop_px)
        return make_pairs(
            self.patterns, self.shard_pairs * len(shards), shape, self.settings, draws
        )


def pair_settings(recipe: Recipe) -> PairSettings:
    """What the recipe draws its pairs from."""
    data = recipe.data
    wide = DeformationSettings(wide=data.wide, coarse_px=data.coarse_px)
    return PairSettings(
        visibility=None if data.visibility == "own" else data.visibility,
        counts=data.counts,
        transmission=data.transmission,
        focusing=data.focusing,
        flat=data.flat,
        deformation=PAPER if data.deformation == "paper" else wide,
    )


def training_limits(recipe: Recipe) -> list[str]:
    """What the network has seen, in words: outside of it nothing is promised."""
    if recipe.data.stored:
        return [f"the stored pairs of {recipe.data.stored}"]
    settings = pair_settings(recipe)
    deformation = settings.deformation
    reach = max(deformation.wide_px if deformation.wide else 1.0, deformation.constant_px)
    displacements = f"displacements up to {reach} px"
    if deformation.wide and deformation.coarse_px > reach:
        displacements += (
            f", up to {deformation.coarse_px} px where they are smooth over {COARSE_PATCH_PX} px"
        )
    visibility = "their own visibility"
    if settings.visibility is not None:
        visibility = "visibility {:.0%} to {:.0%}".format(*settings.visibility)
    most = settings.transmission[1] if settings.flat == 1 else 1.0
    speckle = "speckles of 1.9 to 8 px FWHM"
    if recipe.data.pattern_sets:
        speckle = "speckles of " + ", ".join(recipe.data.pattern_sets)
    return [
        displacements,
        f"{speckle}, {visibility}",
        f"transmission {settings.transmission[0]:.0%} to {most:.0%}",
        "{:.0f} to {:.0f} mean counts per pixel".format(*settings.counts),
    ]
