"""How good a tracker is on patterns it has never seen, beside the limit on the same patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from cade.interpolation import spline_coefficients
from models.tracker import Tracker
from simulator.deformation import PATCHES_PX, DeformationSettings
from simulator.detector import expose
from simulator.limit import limit_epe
from simulator.pairs import PairSettings, displaced_intensity, make_pairs
from simulator.pattern import at_pixels, reference_patterns

UNSEEN_SEED = 77
"""Seed of the test patterns; recipes must use another one."""
PATTERN_PX = 256
LIMIT_PATCHES = 8
LEAST_LIMIT_PX = 64
"""The limit is computed on a crop of so many patches but at least so many px: where patches are
small its cost grows with the sixth power of the side, where they are large the whole frame helps.
"""
RANDOM_MAPS = DeformationSettings(wide=0.0, constant=0.0, identity=0.0)
SHIFTS_PX = tuple(round(0.1 * i, 1) for i in range(11))


@dataclass(frozen=True, slots=True)
class PatchRow:
    """One patch size of the random-deformation study; lengths in px."""

    patch_px: int
    pairs: int
    epe_px: float
    limit_px: float
    ratio: float
    within_one_sigma: float
    valid_fraction: float


@dataclass(frozen=True, slots=True)
class ShiftRow:
    """One constant displacement: root mean square error and bias |mean(u) − u_true|, in px."""

    shift_px: float
    rmse_px: float
    bias_px: float


def unseen_patterns(count: int) -> torch.Tensor:
    """Test patterns `(count, 512, 512)` at two samples a pixel."""
    return reference_patterns(count, (PATTERN_PX, PATTERN_PX), UNSEEN_SEED)


def pair_settings(counts: float, transmission: float) -> PairSettings:
    """Random maps at one N0 and one uniform T, patterns at their own visibility."""
    return PairSettings(
        visibility=None,
        counts=(counts, counts),
        transmission=(transmission, transmission),
        focusing=0.0,
        flat=1.0,
        deformation=RANDOM_MAPS,
    )


def patch_study(
    tracker: Tracker,
    patterns: torch.Tensor,
    *,
    counts: float = 1000.0,
    transmission: float = 0.9,
    patches_px: tuple[int, ...] = PATCHES_PX,
    seed: int = 5,
) -> list[PatchRow]:
    """Mean end-point error (paper eq. 1) per patch size, one whole-frame pair of each pattern."""
    settings = pair_settings(counts, transmission)
    height, width = (int(n) for n in at_pixels(patterns).shape[-2:])
    rows = []
    for patch in patches_px:
        crop = max(LEAST_LIMIT_PX, LIMIT_PATCHES * patch)
        generator = torch.Generator().manual_seed(seed + patch)
        errors, inside, valid, limits = [], [], [], []
        for pattern in patterns:
            pair = make_pairs(pattern[None], 1, (height, width), settings, generator, [patch])
            found = tracker.track(pair.reference[0], pair.sample[0])
            deviation = torch.stack([found.ux_px, found.uy_px]) - pair.displacement_px[0]
            # Every pixel counts: a tracker does not improve by calling pixels invalid.
            deviation = torch.nan_to_num(deviation, nan=1.0)
            errors.append(float(deviation.square().sum(dim=0).sqrt().mean()))
            valid.append(float(found.valid.float().mean()))
            if found.sigma_x_px is not None and found.sigma_y_px is not None:
                sigma = torch.stack([found.sigma_x_px, found.sigma_y_px])
                inside.append(float((deviation.abs() < sigma).float().mean()))
            piece = at_pixels(pattern)[:crop, :crop]
            limits.append(limit_epe(piece, transmission, counts, patch))
        epe, limit = float(np.mean(errors)), float(np.mean(limits))
        within = float(np.mean(inside)) if inside else float("nan")
        rows.append(
            PatchRow(patch, len(patterns), epe, limit, epe / limit, within, float(np.mean(valid)))
        )
    return rows


def shift_study(
    tracker: Tracker,
    patterns: torch.Tensor,
    *,
    counts: float = 1000.0,
    transmission: float = 0.9,
    shifts_px: tuple[float, ...] = SHIFTS_PX,
    seed: int = 6,
) -> list[ShiftRow]:
    """Constant shifts along x (paper eqs. 4 and 5): error over all pixels and patterns."""
    generator = torch.Generator().manual_seed(seed)
    border = 12
    rows = []
    for shift in shifts_px:
        errors = []
        for pattern in patterns:
            padded = torch.nn.functional.pad(pattern[None, None], (border,) * 4, mode="circular")
            u = torch.zeros(1, 2, *at_pixels(pattern).shape)
            u[:, 0] = shift
            moved = displaced_intensity(spline_coefficients(padded[0]), u, border)
            reference = expose(at_pixels(pattern), counts, generator)
            sample = expose(transmission * moved[0], counts, generator)
            found = tracker.track(reference, sample)
            errors.append((found.ux_px - shift)[found.valid])
        error = torch.cat(errors)
        rows.append(ShiftRow(shift, float(error.square().mean().sqrt()), abs(float(error.mean()))))
    return rows


def mean_ratio(rows: list[PatchRow]) -> float:
    """Mean end-point error over all patch sizes, over the mean limit."""
    return sum(r.epe_px for r in rows) / sum(r.limit_px for r in rows)
