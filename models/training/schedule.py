"""How the learning rate goes over a run."""

from __future__ import annotations

import math
from bisect import bisect_right

from models.recipe import OptimiserRecipe

MILESTONE_FACTOR = 0.5
"""What every milestone multiplies the rate with."""


def rate_factor(progress: float, options: OptimiserRecipe) -> float:
    """Learning rate over its maximum at `progress`, 0 at the start and 1 at the end of a run.

    Linear warm-up, then half a cosine to zero, or a halving at each milestone. Milestones keep
    their place in the run when the run is fitted to a time.
    """
    warm_up = options.warm_up
    if progress < warm_up:
        return progress / warm_up
    if options.schedule == "milestones":
        passed = bisect_right(options.milestones, progress * options.epochs)
        return MILESTONE_FACTOR**passed
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm_up) / (1 - warm_up))))
