"""Accuracy against cost over width and depth: networks trained alike, from scratch.

    python benchmarks/widths.py [--steps N] [--device cuda]

The default recipe at 112 px crops. Cost is that of `benchmarks/frontier.py`, in the same run, on
one CPU thread. It takes a GPU: after 400 steps, half an hour of a CPU, half the width, one and a
half times the width, fewer blocks and more all stand at 2.64 or 2.65 times the limit, because what
limits them is the training.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.frontier import CPU, cost
from models.cade_network import CadeNetwork
from models.cade_tracker import CadeTracker
from models.evaluation import mean_ratio, patch_study, unseen_patterns
from models.recipe import NetworkRecipe, Recipe, default_recipe
from models.training.patterns import training_patterns
from models.training.sources import FreshPairs, pair_settings
from models.training.trainer import Trainer

HERE = Path(__file__).resolve().parent
CROP_PX = 112
WIDTHS = (0.5, 1.0, 1.5)
DEPTHS = ((1, 1), (1, 2), (2, 3))
"""Residual blocks of every level, for each of the two passes; the default is (1, 2)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One network: `width` over the default's, `cost` in passes of quarter-width StrainNet-f."""

    width: float
    blocks: tuple[int, ...]
    parameters: int
    steps: int
    cost: float
    ratio: float


def recipe_of(width: float, blocks: tuple[int, ...], steps: int) -> Recipe:
    """The default recipe, for another network and for `steps`."""
    recipe = default_recipe()
    channels = [
        [8 * round(width * c / 8) for c in levels] for levels in recipe.network.options["channels"]
    ]
    options = {"channels": channels, "blocks": list(blocks)}
    return dataclasses.replace(
        recipe,
        network=NetworkRecipe("cade", options),
        data=dataclasses.replace(recipe.data, crop_px=CROP_PX),
        optimiser=dataclasses.replace(recipe.optimiser, steps=steps),
    )


def trained(recipe: Recipe, patterns: torch.Tensor, folder: Path, device: str) -> Trainer:
    """A finished run of the recipe."""
    source = FreshPairs(
        patterns.to(device),
        recipe.data.crop_px,
        pair_settings(recipe),
        recipe.seed,
        recipe.optimiser.batch // recipe.optimiser.shards,
    )
    trainer = Trainer(recipe, folder, device=device, source=source)
    trainer.run()
    return trainer


def main() -> int:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, metavar="N", help="of training (8000 on a GPU)")
    parser.add_argument("--patterns", type=int, default=4, metavar="N", help="unseen patterns (4)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of the timing (5)")
    parser.add_argument("--device", default="cuda", metavar="NAME", help="that trains (cuda)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="folder of training patterns")
    parser.add_argument("--output", type=Path, default=HERE / "widths.json", metavar="FILE")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("widths: skipped, because training for long enough takes a GPU (or --device cpu)")
        return 0
    steps = options.steps or 8000
    torch.set_num_threads(1)
    unseen = unseen_patterns(options.patterns)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        cache = options.cache or Path(scratch)
        patterns = training_patterns(default_recipe(), cache, CPU)
        tracker = CadeTracker("cade", CPU)
        for width, blocks in [(w, (1, 2)) for w in WIDTHS] + [(1.0, d) for d in DEPTHS[::2]]:
            folder = Path(scratch) / f"{width}-{blocks}"
            trainer = trained(recipe_of(width, blocks, steps), patterns, folder, options.device)
            network = trainer.result().to(CPU)
            assert isinstance(network, CadeNetwork)
            tracker.network = network
            parameters = sum(p.numel() for p in network.parameters())
            found = (cost(tracker, options.rounds), mean_ratio(patch_study(tracker, unseen)))
            rows.append(Row(width, blocks, parameters, steps, *found))
            print(rows[-1], flush=True)
    text = json.dumps([dataclasses.asdict(r) for r in rows], indent=2)
    options.output.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
