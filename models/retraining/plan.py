"""What a retraining is to be, as a recipe that starts from its parent's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from cade.errors import CadeError, UsageError
from models.recipe import DataRecipe, NetworkRecipe, OptimiserRecipe, Recipe, tuples
from models.weights_file import Card

GENTLER = 0.1
"""Learning rate, over that with which the parent was trained from nothing."""
WARM_UP = 0.05
PATTERN_PX = 256
STEPS = 1000


@dataclass(frozen=True, slots=True)
class RetrainingPlan:
    """What the user may say; None leaves it to the parent's recipe.

    `share` is that of measured patterns among the pairs, `patterns` the number of simulated ones,
    if they are not taken from the files `pattern_sets`.
    """

    name: str
    share: float = 0.5
    steps: int = STEPS
    rate: float | None = None
    patterns: int = 64
    pattern_sets: tuple[str, ...] = ()
    seed: int = 1

    def check(self) -> None:
        """Raise UsageError for values out of range."""
        if not 0 < self.share <= 1:
            raise UsageError(f"--share must be above 0 and up to 1, not {self.share:g}")
        for option, value in (("--steps", self.steps), ("--patterns", self.patterns)):
            if value < 1:
                raise UsageError(f"{option} must be at least 1, not {value}")
        if self.rate is not None and not 0 < self.rate < 1:
            raise UsageError(f"--rate must be above 0 and below 1, not {self.rate:g}")
        if not 0 <= self.seed < 1 << 40:
            raise UsageError(f"--seed must be from 0 to 2⁴⁰, not {self.seed}")


def retraining_recipe(plan: RetrainingPlan, parent: Card, crop_px: int) -> Recipe:
    """The parent's recipe with a gentle rate, for crops that fit into the references.

    Raises:
        CadeError: the parent's card holds no recipe that this version can continue.
    """
    try:
        data = DataRecipe(**_known(DataRecipe, parent.recipe.get("data", {})))
        optimiser = OptimiserRecipe(**_known(OptimiserRecipe, parent.recipe.get("optimiser", {})))
        recipe = Recipe(
            name=plan.name,
            seed=plan.seed,
            network=NetworkRecipe(parent.architecture, tuples(parent.options)),
            data=dataclasses.replace(
                data,
                patterns=plan.patterns,
                pattern_sets=plan.pattern_sets,
                stored="",
                crop_px=crop_px,
                pattern_px=PATTERN_PX,
                epoch_pairs=0,
            ),
            optimiser=_gentle(optimiser, plan),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise CadeError(
            f"weights {parent.name}: the recipe in their card cannot be continued: {error}"
        ) from None
    return recipe


def _gentle(optimiser: OptimiserRecipe, plan: RetrainingPlan) -> OptimiserRecipe:
    rate = GENTLER * optimiser.rate if plan.rate is None else plan.rate
    return dataclasses.replace(
        optimiser,
        schedule="cosine",
        steps=plan.steps,
        epochs=0,
        milestones=(),
        shards=1,
        rate=rate,
        warm_up=WARM_UP,
    )


def _known(kind: type[Any], table: dict[str, Any]) -> dict[str, Any]:
    """What this version knows of a stored recipe's section."""
    names = {f.name for f in dataclasses.fields(kind)}
    return {key: tuples(value) for key, value in table.items() if key in names}
