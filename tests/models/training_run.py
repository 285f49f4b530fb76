"""A short training in its own process: `python training_run.py FOLDER [--resume]`.

It saves after every step and says so, so that a test can kill it at a known place.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import torch

from models.recipe import DataRecipe, NetworkRecipe, OptimiserRecipe, Recipe
from models.training import Trainer

STEPS = 8


def recipe(steps: int = STEPS, rate: float = 3e-3) -> Recipe:
    """Small enough for seconds; everything that a real one has."""
    return Recipe(
        name="tiny",
        seed=5,
        network=NetworkRecipe("cade", {"channels": ((4, 6), (4, 6)), "blocks": (1, 1)}),
        data=DataRecipe(patterns=3, pattern_px=64, crop_px=32),
        optimiser=OptimiserRecipe(steps=steps, batch=2, shards=2, rate=rate, average=0.8),
    )


def strainnet_recipe(steps: int = STEPS) -> Recipe:
    """The same for the other architecture."""
    base = recipe(steps)
    weights = (0.32, 0.08, 0.02, 0.01, 0.005)
    return dataclasses.replace(
        base,
        network=NetworkRecipe("strainnet-f", {"width": 0.02}),
        optimiser=dataclasses.replace(base.optimiser, loss_weights=weights),
    )


class Slow(Trainer):
    """Says which step is saved, and waits a moment, so that a kill comes in the middle."""

    def save(self) -> None:
        super().save()
        sys.stdout.write(f"{self.step}\n")
        sys.stdout.flush()
        time.sleep(0.2)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Slow(recipe(), Path(sys.argv[1])).run(resume="--resume" in sys.argv, checkpoint_s=0)
