"""Whether sigma is what it claims to be: how much of the truth lies within one and two of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cade.errors import UsageError
from models.evaluation.unseen import random_maps
from models.tracker import Tracker
from simulator.deformation import PATCHES_PX
from simulator.pairs import make_pairs
from simulator.pattern import at_pixels

NOISE_COUNTS = (278.0, 1000.0, 10_000.0)
"""6, 3.2 and 1 % noise."""
QUINTILES = 5


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """The share of component deviations within one and two claimed sigma, in one group."""

    group: str
    within_one: float
    within_two: float


@dataclass(frozen=True, slots=True, eq=False)
class _Deviations:
    """Of one light level and patch size, flat: |deviation| over sigma, and sigma in px."""

    counts: float
    patch_px: int
    in_sigma: torch.Tensor
    sigma_px: torch.Tensor


def coverage_study(
    tracker: Tracker,
    patterns: torch.Tensor,
    *,
    counts: tuple[float, ...] = NOISE_COUNTS,
    transmission: float = 0.9,
    patches_px: tuple[int, ...] = PATCHES_PX,
    seed: int = 8,
) -> list[CoverageRow]:
    """Coverage over everything, at each noise level, each patch size and each quintile of sigma.

    One factor on sigma can put the first row right, not the others.

    Raises:
        UsageError: the tracker claims no sigma.
    """
    if not tracker.provenance.has_sigma:
        raise UsageError(f"tracker {tracker.provenance.tracker!r} claims no sigma to be checked")
    parts = [
        _deviations(tracker, patterns, level, transmission, patch, seed)
        for level in counts
        for patch in patches_px
    ]
    rows = [_row("all", parts)]
    rows += [_row(f"N0 = {n:g}", [p for p in parts if p.counts == n]) for n in counts]
    rows += [_row(f"patch {n} px", [p for p in parts if p.patch_px == n]) for n in patches_px]
    return rows + _quintiles(parts)


def _deviations(
    tracker: Tracker,
    patterns: torch.Tensor,
    counts: float,
    transmission: float,
    patch_px: int,
    seed: int,
) -> _Deviations:
    settings = random_maps(counts, transmission)
    generator = torch.Generator().manual_seed(seed + patch_px + round(counts))
    ratios, sigmas = [], []
    for pattern in patterns:
        height, width = (int(n) for n in at_pixels(pattern).shape)
        pair = make_pairs(pattern[None], 1, (height, width), settings, generator, [patch_px])
        found = tracker.track(pair.reference[0], pair.sample[0])
        assert found.sigma_x_px is not None  # noqa: S101 - checked by the provenance above
        assert found.sigma_y_px is not None  # noqa: S101
        sigma = torch.stack([found.sigma_x_px, found.sigma_y_px])[:, found.valid]
        u = torch.stack([found.ux_px, found.uy_px])[:, found.valid]
        deviation = (u - pair.displacement_px[0][:, found.valid]).abs()
        ratios.append((deviation / sigma).flatten())
        sigmas.append(sigma.flatten())
    return _Deviations(counts, patch_px, torch.cat(ratios), torch.cat(sigmas))


def _quintiles(parts: list[_Deviations]) -> list[CoverageRow]:
    in_sigma = torch.cat([p.in_sigma for p in parts])
    order = torch.cat([p.sigma_px for p in parts]).argsort()
    return [
        _coverage(f"sigma quintile {i + 1}", in_sigma[piece])
        for i, piece in enumerate(order.tensor_split(QUINTILES))
    ]


def _row(group: str, parts: list[_Deviations]) -> CoverageRow:
    return _coverage(group, torch.cat([p.in_sigma for p in parts]))


def _coverage(group: str, in_sigma: torch.Tensor) -> CoverageRow:
    within = [float((in_sigma < limit).float().mean()) for limit in (1.0, 2.0)]
    return CoverageRow(group, *within)
