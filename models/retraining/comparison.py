"""Old and new weights on the same unseen pairs: held-back references and simulated patterns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from models.evaluation import patch_study
from models.evaluation.unseen import random_maps
from models.tracker import Tracker
from simulator.deformation import PATCHES_PX
from simulator.pairs import make_pairs

TOLERANCE = 0.02
"""New weights may be worse by this share of the end-point error: pairs are the same for both, so
that what is left is hardly chance."""
REFERENCE_PATCHES_PX = (8, 32, 128)
MOST_PIECES = 24
_TRANSMISSION = 0.9
_SEED = 11


@dataclass(frozen=True, slots=True)
class Score:
    """Mean end-point errors in px, an invalid pixel counted as 1 px off in x and in y."""

    references_px: float
    simulated_px: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of the old and of the new weights."""

    old: Score
    new: Score

    def complaints(self, tolerance: float = TOLERANCE) -> list[str]:
        """What speaks against the new weights; nothing where they may be promoted."""
        named = (
            ("held-back references", "references_px"),
            ("the simulator's test set", "simulated_px"),
        )
        found = []
        for where, name in named:
            old, new = getattr(self.old, name), getattr(self.new, name)
            if not new <= (1 + tolerance) * old:  # also where it is no number
                found.append(
                    f"{new / old - 1:+.1%} on {where} (EPE {new:.4f} px instead of {old:.4f} px)"
                )
        return found

    def table(self) -> dict[str, dict[str, float]]:
        """For the card."""
        return dataclasses.asdict(self)


def compare(
    old: Tracker,
    new: Tracker,
    held_back: torch.Tensor,
    simulated: torch.Tensor,
    *,
    counts: float,
    crop_px: int,
    patches_px: tuple[int, ...] = PATCHES_PX,
) -> Comparison:
    """Judge two trackers.

    Args:
        old: the parent.
        new: what was trained.
        held_back: pieces of references `(P, 2h, 2w)` that were not trained on.
        simulated: unseen periodic patterns `(P, 2H, 2W)`.
        counts: N0 of the references, at which they are judged.
        crop_px: side of the pairs that are cut from the pieces.
        patches_px: patch sizes of the simulated pairs.
    """
    scores = [
        Score(
            references_epe(tracker, held_back, counts, crop_px),
            _simulated_epe(tracker, simulated, patches_px),
        )
        for tracker in (old, new)
    ]
    return Comparison(*scores)


def references_epe(tracker: Tracker, pieces: torch.Tensor, counts: float, crop_px: int) -> float:
    """Mean end-point error on pairs from pieces `(P, 2h, 2w)`; the same pairs for every tracker."""
    settings = dataclasses.replace(random_maps(counts, _TRANSMISSION), periodic=False)
    every = -(-len(pieces) // MOST_PIECES)
    errors = []
    for patch in REFERENCE_PATCHES_PX:
        generator = torch.Generator().manual_seed(_SEED + patch)
        for piece in pieces[::every]:
            pair = make_pairs(piece[None], 1, (crop_px, crop_px), settings, generator, [patch])
            found = tracker.track(pair.reference[0], pair.sample[0])
            deviation = torch.stack([found.ux_px, found.uy_px]) - pair.displacement_px[0]
            deviation = torch.nan_to_num(deviation, nan=1.0)
            errors.append(float(deviation.square().sum(dim=0).sqrt().mean()))
    return sum(errors) / len(errors)


def _simulated_epe(tracker: Tracker, patterns: torch.Tensor, patches_px: tuple[int, ...]) -> float:
    rows = patch_study(tracker, patterns, patches_px=patches_px)
    return sum(row.epe_px for row in rows) / len(rows)
