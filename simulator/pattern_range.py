"""Which speckle a set of patterns covers, and patterns drawn until they are within it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from cade.errors import UsageError
from simulator.diffuser import Sandpaper
from simulator.optics import Optics
from simulator.pattern import Speckle, at_pixels, measure_speckle, reference_intensity
from simulator.seeds import seeded_generator

MOST_DRAWS = 200
"""A range that is met less often than this does not go with the frame's shape."""

_COARSER = 0.75


@dataclass(frozen=True, slots=True)
class PatternRange:
    """What the patterns of a set must measure, and the sandpaper that is drawn to meet it.

    `fwhm_px` and `visibility` are the limits that every pattern is held to. About log-uniform in
    their ranges: `grains_m`, `heights` (over grain size), `contrast`; uniform: `coverage`,
    `near_distances_m`; `layers` is one of those given. A `contrast` below one scales a pattern
    about its mean, as a background without speckle does (scatter, harmonics): a second way to a low
    visibility beside thin grains, which leaves the shape of the distribution of intensities.
    Coarse grains come more often than log-uniform: blur makes speckles of fine ones much the same.
    Grains below `near_grain_m` are seen from one of `near_distances_m`, others from 2 m.
    """

    name: str
    fwhm_px: tuple[float, float]
    visibility: tuple[float, float]
    grains_m: tuple[float, float]
    heights: tuple[float, float]
    layers: tuple[int, ...]
    coverage: tuple[float, float]
    contrast: tuple[float, float]
    near_grain_m: float
    near_distances_m: tuple[float, float]

    def holds(self, speckle: Speckle) -> bool:
        """Whether a pattern belongs to the set."""
        low_px, high_px = self.fwhm_px
        low, high = self.visibility
        return low_px <= speckle.fwhm_px <= high_px and low <= speckle.visibility <= high


PAPER_RANGE = PatternRange(
    name="paper",
    fwhm_px=(22 / 12, 110 / 12),
    visibility=(0.2, 1.0),
    grains_m=(7e-6, 165e-6),
    heights=(0.65, 1.3),
    layers=(10,),
    coverage=(0.5, 0.5),
    contrast=(1.0, 1.0),
    near_grain_m=12e-6,
    near_distances_m=(1.4, 2.0),
)
"""Section II-A: 22 to 110 µm FWHM on pixels of 12 µm, visibility at least 20 %.

At the paper's 2 m a focal spot of 10 µm is imaged to 20 µm, and no grain size, height, coverage or
number of layers that was tried gave speckle below 25 µm with a visibility of 20 %. So the finest
grains, a tenth of the patterns, are seen from 1.4 to 2 m.
"""

WIDE_RANGE = PatternRange(
    name="wide",
    fwhm_px=(1.8, 12.0),
    visibility=(0.05, 0.6),
    grains_m=(5e-6, 210e-6),
    heights=(0.3, 1.8),
    layers=(2, 4, 10),
    coverage=(0.25, 0.75),
    contrast=(0.4, 1.0),
    near_grain_m=10e-6,
    near_distances_m=(1.4, 2.0),
)
"""Beyond the paper's: speckle as coarse as 12 px and as faint as 5 %, as real diffusers have it.

What physics leaves out is missing here too: patterns of 2 px hardly reach a visibility of 0.3.
"""

RANGES = {limits.name: limits for limits in (PAPER_RANGE, WIDE_RANGE)}


@dataclass(frozen=True, slots=True, eq=False)
class DrawnPattern:
    """A pattern `(2H, 2W)` float32 of mean one, and how it came about in `draws` draws."""

    intensity: torch.Tensor
    speckle: Speckle
    paper: Sandpaper
    distance_m: float
    contrast: float
    draws: int


def draw_pattern(
    index: int, shape: tuple[int, int], seed: int, limits: PatternRange
) -> DrawnPattern:
    """Pattern `index` of those that a seed gives; it depends on nothing else.

    Raises:
        UsageError: no draw is within the limits; the frame is too small for such speckle.
    """
    refused = ""
    for draw in range(MOST_DRAWS):
        try:
            drawn = _draw(draw, shape, seeded_generator(seed, index, draw), limits)
        except UsageError as error:  # such as a slope too steep for the sampling: a chance event
            refused = f" (the last one: {error})"
            continue
        if limits.holds(drawn.speckle):
            return drawn
    raise UsageError(
        f"pattern {index}: none of {MOST_DRAWS} draws at {shape[0]} × {shape[1]} px is within the "
        f"{limits.name} set's limits{refused}; use a larger --shape"
    )


def _draw(
    draw: int, shape: tuple[int, int], generator: torch.Generator, limits: PatternRange
) -> DrawnPattern:
    grain, height, layer, coverage, distance, contrast = torch.rand(6, generator=generator).tolist()
    paper = Sandpaper(
        grain_m=_between(limits.grains_m, grain**_COARSER, math.log, math.exp),
        height=_between(limits.heights, height, math.log, math.exp),
        coverage=_between(limits.coverage, coverage),
        layers=limits.layers[int(layer * len(limits.layers))],
    )
    optics = Optics()
    if paper.grain_m < limits.near_grain_m:
        optics = Optics(distance_m=_between(limits.near_distances_m, distance))
    scale = _between(limits.contrast, contrast, math.log, math.exp)
    intensity = 1 + scale * (reference_intensity(paper, optics, shape, generator) - 1)
    return DrawnPattern(
        intensity=intensity,
        speckle=measure_speckle(at_pixels(intensity)),
        paper=paper,
        distance_m=optics.distance_m,
        contrast=scale,
        draws=draw + 1,
    )


def _between(
    limits: tuple[float, float],
    position: float,
    into: Callable[[float], float] = float,
    back: Callable[[float], float] = float,
) -> float:
    low, high = into(limits[0]), into(limits[1])
    return back(low + (high - low) * position)
