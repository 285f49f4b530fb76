"""Random displacement maps per patch size (paper section II-E), beside the limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from models.evaluation.spread import standard_error
from models.evaluation.unseen import random_maps
from models.tracker import Tracker
from simulator.deformation import PATCHES_PX
from simulator.limit import limit_epe
from simulator.pairs import make_pairs
from simulator.pattern import at_pixels

LIMIT_PATCHES = 8
LEAST_LIMIT_PX = 64
"""The limit is computed on a crop of so many patches but at least so many px: where patches are
small its cost grows with the sixth power of the side, where they are large the whole frame helps.
"""


@dataclass(frozen=True, slots=True)
class PatchRow:
    """One patch size of the random-deformation study; lengths in px.

    `epe_error_px` is the standard error over the pairs.
    """

    patch_px: int
    pairs: int
    epe_px: float
    limit_px: float
    ratio: float
    within_one_sigma: float
    valid_fraction: float
    epe_error_px: float = math.nan


def patch_study(
    tracker: Tracker,
    patterns: torch.Tensor,
    *,
    counts: float = 1000.0,
    transmission: float = 0.9,
    focusing: float = 0.0,
    patches_px: tuple[int, ...] = PATCHES_PX,
    seed: int = 5,
) -> list[PatchRow]:
    """Mean end-point error (paper eq. 1) per patch size, one whole-frame pair of each pattern.

    `focusing` is the share of pairs that carry the factor det(1 − ∇u).
    """
    settings = random_maps(counts, transmission, focusing)
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
            PatchRow(
                patch_px=patch,
                pairs=len(patterns),
                epe_px=epe,
                limit_px=limit,
                ratio=epe / limit,
                within_one_sigma=within,
                valid_fraction=float(np.mean(valid)),
                epe_error_px=standard_error(errors),
            )
        )
    return rows


def mean_ratio(rows: list[PatchRow]) -> float:
    """Mean end-point error over all patch sizes, over the mean limit."""
    return sum(r.epe_px for r in rows) / sum(r.limit_px for r in rows)
