"""Measured patterns cut into pieces: some to train on, others held back to judge by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from cade.errors import CadeError
from models.retraining.drift import Shift
from models.retraining.measured_pattern import LEAST_VISIBILITY, MeasuredPattern
from simulator.detector import HALF_PIXELS
from simulator.pattern import at_pixels

SIDES_PX = (256, 192, 128, 96, 64)
"""Largest sides of a piece, tried in turn until a frame gives enough of them."""
ENOUGH = 4
HELD_BACK = 0.2
"""Share of the places that are held back: the same ones, at one end, in every pattern."""
MOST_DEAD = 0.05
"""Share of a piece that may be dead or dark."""
BORDER_PX = 12
"""Around a crop, from which displaced positions are read."""
CROP_STEP_PX = 16
LEAST_CROP_PX = 32


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece lies, in pixels: rows and columns from … to."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, image: torch.Tensor, scale: int = 1) -> torch.Tensor:
        """This part of an image with `scale` samples a pixel."""
        return image[self.top * scale : self.bottom * scale, self.left * scale : self.right * scale]

    def touches(self, other: Place, shift: Shift) -> bool:
        """Whether this place, seen in a frame moved by `shift`, shows part of `other`."""
        left, top = self.left - shift.x_px, self.top - shift.y_px
        right, bottom = self.right - shift.x_px, self.bottom - shift.y_px
        beside = left >= other.right or right <= other.left
        return not (beside or top >= other.bottom or bottom <= other.top)


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """`training` and `held_back` `(P, 2h, 2w)` float32, mean one, two samples a pixel."""

    training: torch.Tensor
    held_back: torch.Tensor

    @property
    def shape_px(self) -> tuple[int, int]:
        """Height and width of a piece."""
        _, height, width = self.training.shape
        return height // HALF_PIXELS, width // HALF_PIXELS

    def crop_px(self, wanted_px: int) -> int:
        """The side of a crop that fits, at most that wanted."""
        fits = (min(self.shape_px) - BORDER_PX) // CROP_STEP_PX * CROP_STEP_PX
        return min(wanted_px, fits)


def cut_patterns(
    patterns: Sequence[MeasuredPattern], overlaps: Mapping[tuple[int, int], Shift]
) -> Pieces:
    """Pieces of patterns of one shape.

    What is held back lies at the same places in all of them, and nothing of it is in `training`:
    pieces that show the same speckle by way of `overlaps` (shift of pattern j against i) are left
    out.

    Raises:
        CadeError: the frames are too small, or too few pieces are good.
    """
    height, width = (int(n) for n in patterns[0].good.shape)
    places = _places(height, width)
    if not places:
        raise CadeError(
            f"{patterns[0].name}: frames of {height} × {width} px are too small to train and to "
            f"test on; give references of at least 96 × 96 px"
        )
    good = [[p for p in places if _is_good(pattern, p)] for pattern in patterns]
    known = _ordered({p for found in good for p in found}, along_rows=width >= height)
    if len(known) < 2:
        raise CadeError(
            f"{patterns[0].name}: only {len(known)} of {len(places)} parts of the frame have light "
            f"and speckle, too few to train and to test on; give other references"
        )
    held = set(known[-max(1, round(HELD_BACK * len(known))) :])
    training = [
        (i, p)
        for i, found in enumerate(good)
        for p in found
        if p not in held and not _seen_elsewhere(i, p, held, overlaps)
    ]
    if not training:
        raise CadeError(
            "the references show so much of the same speckle that nothing is left to test on; "
            "leave out those that overlap"
        )
    kept = [(i, p) for i, found in enumerate(good) for p in found if p in held]
    return Pieces(_stack(patterns, training), _stack(patterns, kept))


def _places(height: int, width: int) -> list[Place]:
    """A grid of pieces of one size, as large as gives enough of them; none where all are small."""
    for side in SIDES_PX:
        rows, columns = -(-height // side), -(-width // side)
        h, w = height // rows, width // columns
        if rows * columns >= ENOUGH and min(h, w) >= LEAST_CROP_PX + BORDER_PX:
            return [
                Place(c * w, r * h, (c + 1) * w, (r + 1) * h)
                for r in range(rows)
                for c in range(columns)
            ]
    return []


def _ordered(places: set[Place], *, along_rows: bool) -> list[Place]:
    """Along the longer side of the frame, so that its end can be held back."""
    return sorted(places, key=lambda p: (p.left, p.top) if along_rows else (p.top, p.left))


def _is_good(pattern: MeasuredPattern, place: Place) -> bool:
    if float(place.of(pattern.good).float().mean()) < 1 - MOST_DEAD:
        return False
    return float(at_pixels(place.of(pattern.samples, HALF_PIXELS)).std()) >= LEAST_VISIBILITY


def _seen_elsewhere(
    index: int, place: Place, held: set[Place], overlaps: Mapping[tuple[int, int], Shift]
) -> bool:
    """Whether a place shows what is held back in another pattern."""
    for (first, second), shift in overlaps.items():
        if second == index and any(place.touches(h, shift) for h in held):
            return True
        if first == index and any(h.touches(place, shift) for h in held):
            return True
    return False


def _stack(patterns: Sequence[MeasuredPattern], chosen: list[tuple[int, Place]]) -> torch.Tensor:
    pieces = torch.stack([p.of(patterns[i].samples, HALF_PIXELS) for i, p in chosen])
    return pieces / pieces.mean(dim=(-2, -1), keepdim=True)
