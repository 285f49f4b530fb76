"""Spatial resolution: the star map of the DIC Challenge and of the paper.

uy = 0.5·cos(2π(y − yc)/λ(x)), where the period λ grows from 10 px at the left to 150 px at the
right. On the symmetry row y = yc the truth is 0.5 px everywhere; what a tracker finds there falls
off to the left. The resolution is the period at which one tenth is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cade.interpolation import spline_coefficients
from models.evaluation.spread import jackknife_error, standard_error
from models.tracker import Tracker
from simulator.detector import HALF_PIXELS, expose
from simulator.diffuser import Sandpaper
from simulator.optics import Optics
from simulator.pairs import displaced_intensity
from simulator.pattern import at_pixels, reference_intensity
from simulator.seeds import seeded_generator

AMPLITUDE_PX = 0.5
PERIODS_PX = (10.0, 150.0)
BIAS = 0.1
"""Relative, at which the resolution is read."""
COUNTS = 1e4
VISIBILITY = 0.3
STAR_PAPER = Sandpaper(grain_m=37.5e-6, height=0.57)
"""Speckle of 4.0 px."""
STAR_SEED = 78
_TILE_PX = (256, 512)
_MARGIN = 12
_OVERSHOOT_PX = 10.0
_LAST_BIAS_PX = 1.0


@dataclass(frozen=True, slots=True)
class StarRow:
    """Resolution in px; `reached` is false where even the longest period lacks more than 10 %.

    `last_bias_px` is the stricter reading: the longest period at which more than 10 % are missing
    or too much, over 1 px of period together; noise and speckle count in it.
    `overshoot` is the largest share above one, over 10 px of period together.
    """

    resolution_px: float
    resolution_error_px: float
    reached: bool
    last_bias_px: float
    overshoot: float
    rmse_px: float
    patterns: int


@dataclass(frozen=True, slots=True)
class StarProfileRow:
    """One column: uy on the symmetry row over its true value, mean of all patterns."""

    period_px: float
    share: float
    share_error: float


@dataclass(frozen=True, slots=True, eq=False)
class StarProfiles:
    """`shares` `(n, W)` for the periods `(W,)`; `map_px`, `truth_px` `(H, W)` of pattern 0."""

    period_px: torch.Tensor
    shares: torch.Tensor
    rmse_px: float
    map_px: torch.Tensor
    truth_px: torch.Tensor


def star_patterns(count: int) -> list[torch.Tensor]:
    """Periodic patterns of 4-px speckle at 30 % visibility, two samples a pixel, mean one."""
    patterns = []
    for index in range(count):
        generator = seeded_generator(STAR_SEED, index)
        pattern = reference_intensity(STAR_PAPER, Optics(), _TILE_PX, generator)
        scale = VISIBILITY / at_pixels(pattern).std()
        patterns.append((1 + scale * (pattern - 1)).clamp(min=0.02))
    return patterns


def periods(columns: int) -> torch.Tensor:
    """λ of every column."""
    first, last = PERIODS_PX
    return first + (last - first) * torch.arange(columns) / columns


def star_displacement(shape: tuple[int, int]) -> torch.Tensor:
    """Truth `(2, H, W)`; the symmetry row is `H // 2`."""
    y = torch.arange(shape[0])[:, None] - shape[0] // 2
    uy = AMPLITUDE_PX * torch.cos(2 * math.pi * y / periods(shape[1]))
    return torch.stack([torch.zeros_like(uy), uy])


def star_pair(
    pattern: torch.Tensor, shape: tuple[int, int], counts: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference and sample `(H, W)`: a periodic pattern, laid side by side as often as needed."""
    rows, columns = (
        torch.arange(-_MARGIN, HALF_PIXELS * n + _MARGIN) % m
        for n, m in zip(shape, pattern.shape, strict=True)
    )
    laid = pattern[rows][:, columns]
    u = star_displacement(shape)
    still = laid[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN][::HALF_PIXELS, ::HALF_PIXELS]
    moved = displaced_intensity(spline_coefficients(laid[None]), u[None], _MARGIN)[0]
    return expose(still, counts, generator), expose(moved, counts, generator)


def star_profiles(
    tracker: Tracker,
    patterns: list[torch.Tensor],
    shape: tuple[int, int],
    *,
    counts: float = COUNTS,
    seed: int = 10,
) -> StarProfiles:
    """The star map tracked on every pattern. An invalid pixel counts as one that found nothing."""
    truth = star_displacement(shape)[1]
    shares, squares, maps = [], [], []
    for index, pattern in enumerate(patterns):
        pair = star_pair(pattern, shape, counts, seeded_generator(seed, index))
        uy = torch.nan_to_num(tracker.track(*pair).uy_px, nan=0.0)
        shares.append(uy[shape[0] // 2] / AMPLITUDE_PX)
        squares.append(float((uy - truth).square().mean()))
        maps.append(uy)
    rmse_px = math.sqrt(sum(squares) / len(squares))
    return StarProfiles(periods(shape[1]), torch.stack(shares), rmse_px, maps[0], truth)


def resolution(period_px: torch.Tensor, share: torch.Tensor) -> tuple[float, bool]:
    """The period from which on nine tenths are found, and whether there is one.

    It is where the monotonic fit of least squares (isotonic regression) to the shares `(W,)`
    passes 0.9: the minimum of the running sum of what is above it.
    """
    above = torch.nan_to_num(share.double()) - (1 - BIAS)
    running = torch.cat([above.new_zeros(1), above.cumsum(0)])
    first = int(running.argmin())
    if first == len(above):
        return float(period_px[-1]), False
    return float(period_px[first]), True


def star_row(found: StarProfiles) -> StarRow:
    """The resolution of the mean profile."""
    count = len(found.shares)

    def without(index: int) -> float:
        rest = torch.cat([found.shares[:index], found.shares[index + 1 :]])
        return resolution(found.period_px, rest.mean(dim=0))[0]

    mean = found.shares.mean(dim=0)
    px, reached = resolution(found.period_px, mean)
    _, level = _smooth(found.period_px, mean, _OVERSHOOT_PX)
    period_px, fine = _smooth(found.period_px, mean, _LAST_BIAS_PX)
    biased = period_px[(fine - 1).abs() > BIAS]
    return StarRow(
        resolution_px=px,
        resolution_error_px=jackknife_error(count, without),
        reached=reached,
        last_bias_px=float(biased[-1]) if len(biased) else float(period_px[0]),
        overshoot=max(0.0, float(level.max()) - 1),
        rmse_px=found.rmse_px,
        patterns=count,
    )


def _smooth(
    period_px: torch.Tensor, share: torch.Tensor, length_px: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Running means of both over so much of the period."""
    count = max(1, round(length_px / float(period_px[1] - period_px[0])))
    both = torch.stack([period_px, share.float()])
    period_px, share = torch.nn.functional.avg_pool1d(both, count, 1)
    return period_px, share


def star_profile(found: StarProfiles, columns: int = 4) -> list[StarProfileRow]:
    """The mean profile, so many columns together."""
    width = found.shares.shape[1] // columns * columns
    shares = found.shares[:, :width].reshape(len(found.shares), -1, columns).mean(dim=2)
    means = found.period_px[:width].reshape(-1, columns).mean(dim=1)
    return [
        StarProfileRow(float(p), float(values.mean()), standard_error(values.tolist()))
        for p, values in zip(means, shares.T, strict=True)
    ]
