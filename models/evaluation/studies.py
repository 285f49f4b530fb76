"""All studies by name, and the frames that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from models.evaluation.contenders import Contender
from models.evaluation.coverage import coverage_study
from models.evaluation.noise import noise_study
from models.evaluation.outcome import Outcome
from models.evaluation.patches import patch_study
from models.evaluation.phantom import sine_found, sine_profile, sine_row, sine_scans
from models.evaluation.plan import Plan
from models.evaluation.run_time import run_time_study
from models.evaluation.shifts import SHIFTS_PX, reach_study, shift_study
from models.evaluation.star import star_patterns, star_profile, star_profiles, star_row
from models.evaluation.unseen import unseen_patterns
from models.evaluation.window_sizes import NO_WINDOW, WindowFrames, window_study
from simulator.scan import Scan

_PICTURE_ROWS = 129
"""Around the symmetry row of the star, that are kept for the figure."""


@dataclass(frozen=True)
class Inputs:
    """What is the same for all trackers; frames are made when the first study asks for them."""

    plan: Plan
    counts: float = 1000.0
    transmission: float = 0.9
    shifts_px: tuple[float, ...] = field(default=SHIFTS_PX)

    @property
    def light(self) -> dict[str, Any]:
        """N0 and T, as the studies take them."""
        return {"counts": self.counts, "transmission": self.transmission}

    @cached_property
    def patterns(self) -> torch.Tensor:
        """Unseen ones; every study takes the first so many."""
        most = max(self.plan.patterns, self.plan.shift_patterns, self.plan.few)
        return unseen_patterns(most, self.plan.pattern_px)

    @cached_property
    def star(self) -> list[torch.Tensor]:
        """Patterns of the star map."""
        return star_patterns(max(self.plan.star_patterns, self.plan.window_star_patterns))

    @cached_property
    def sine(self) -> list[Scan]:
        """Scans of the sine phantom."""
        return sine_scans(self.plan.sine_scans, self.plan.sine_shape)


def _shifts(contender: Contender, inputs: Inputs) -> Outcome:
    patterns = inputs.patterns[: inputs.plan.shift_patterns]
    rows = shift_study(contender.tracker, patterns, **inputs.light, shifts_px=inputs.shifts_px)
    return Outcome({"shifts": rows})


def _patches(contender: Contender, inputs: Inputs) -> Outcome:
    patterns = inputs.patterns[: inputs.plan.patterns]
    sizes = inputs.plan.patches_px
    light = inputs.light
    return Outcome(
        {
            "patches": patch_study(contender.tracker, patterns, **light, patches_px=sizes),
            "focused": patch_study(
                contender.tracker,
                patterns[: inputs.plan.few],
                **light,
                focusing=1.0,
                patches_px=sizes,
            ),
        }
    )


def _reach(contender: Contender, inputs: Inputs) -> Outcome:
    few = inputs.patterns[: inputs.plan.few]
    return Outcome({"reach": reach_study(contender.tracker, few, **inputs.light)})


def _coverage(contender: Contender, inputs: Inputs) -> Outcome:
    few = inputs.patterns[: inputs.plan.few]
    claims = contender.tracker.provenance.has_sigma
    rows = coverage_study(contender.tracker, few) if claims else []
    return Outcome({"coverage": rows})


def _star(contender: Contender, inputs: Inputs) -> Outcome:
    patterns = inputs.star[: inputs.plan.star_patterns]
    found = star_profiles(contender.tracker, patterns, inputs.plan.star_shape)
    images = {"star": _picture(found.map_px), "star_truth": _picture(found.truth_px)}
    return Outcome({"star": [star_row(found)], "star_profile": star_profile(found)}, images)


def _noise(contender: Contender, inputs: Inputs) -> Outcome:
    few = inputs.patterns[: inputs.plan.few]
    rows = noise_study(
        contender.tracker, few, transmission=inputs.transmission, noise=inputs.plan.noise
    )
    return Outcome({"noise": rows})


def _windows(contender: Contender, inputs: Inputs) -> Outcome:
    plan = inputs.plan
    frames = WindowFrames(
        inputs.patterns[: plan.few], inputs.star[: plan.window_star_patterns],
        plan.window_star_shape,
    )  # fmt: skip
    if contender.is_cade:
        rows = window_study(lambda _: contender.tracker, frames, (NO_WINDOW,), **inputs.light)
    else:
        rows = window_study(contender.with_window, frames, plan.windows_px, **inputs.light)
    return Outcome({"windows": rows})


def _run_time(contender: Contender, inputs: Inputs) -> Outcome:
    plan = inputs.plan
    rows = run_time_study(contender.tracker, inputs.star[0], plan.sides_px, repeats=plan.repeats)
    return Outcome({"run_time": rows})


def _sine(contender: Contender, inputs: Inputs) -> Outcome:
    found = sine_found(contender.tracker, inputs.sine)
    images = {"sine": found.map_px.numpy(), "sine_truth": found.truth_px.numpy()}
    return Outcome({"sine": [sine_row(found)], "sine_profile": sine_profile(found)}, images)


STUDIES: dict[str, Callable[[Contender, Inputs], Outcome]] = {
    "shifts": _shifts,
    "patches": _patches,
    "star": _star,
    "noise": _noise,
    "windows": _windows,
    "run-time": _run_time,
    "sine": _sine,
    "reach": _reach,
    "coverage": _coverage,
}
"""In the order in which they are made."""


def _picture(field_px: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    top = max(0, (len(field_px) - _PICTURE_ROWS) // 2)
    return field_px[top : top + _PICTURE_ROWS].numpy()
