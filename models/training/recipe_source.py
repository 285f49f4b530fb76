"""The pairs that a recipe asks for."""

from __future__ import annotations

from pathlib import Path

import torch

from cade.errors import UsageError
from models.recipe import Recipe
from models.training.patterns import training_patterns
from models.training.processes import Processes
from models.training.sources import FreshPairs, PairSource, pair_settings
from models.training.stored_pairs import stored_pairs
from simulator.detector import HALF_PIXELS
from simulator.pattern_set import read_patterns


def recipe_source(
    recipe: Recipe, folder: Path, device: torch.device, processes: Processes
) -> PairSource:
    """A stored set of pairs, or fresh ones of stored or newly made patterns.

    Patterns are read or made by the leading process; the others get them from it.

    Raises:
        CadeError: files that cannot be read or written.
        UsageError: stored frames are not as large as the recipe says.
    """
    if recipe.data.stored:
        return stored_pairs(recipe, device)
    patterns = None
    if processes.leads:
        patterns = _patterns(recipe, folder, device)
    return FreshPairs(
        patterns=processes.from_leader(patterns).to(device),
        crop_px=recipe.data.crop_px,
        settings=pair_settings(recipe),
        seed=recipe.seed,
        shard_pairs=recipe.optimiser.batch // recipe.optimiser.shards,
    )


def _patterns(recipe: Recipe, folder: Path, device: torch.device) -> torch.Tensor:
    data = recipe.data
    if not data.pattern_sets:
        return training_patterns(recipe, folder, device)
    patterns = read_patterns(*(Path(name) for name in data.pattern_sets))
    height, width = (int(n) // HALF_PIXELS for n in patterns.shape[1:])
    if data.crop_px > min(height, width):
        raise UsageError(
            f"data.crop_px is {data.crop_px}, but the patterns of {data.pattern_sets[0]} are "
            f"{height} × {width} px"
        )
    return patterns
