"""Pairs that no network was trained on, one pattern for every pair, as detector counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulator.deformation import PAPER, PATCHES_PX
from simulator.pairs import PairSample, PairSettings, make_pairs
from simulator.pattern import reference_pattern
from simulator.seeds import seeded_generator

_MARGIN_PX = 12
_ROUND_PX = 32
"""Patterns are larger than the pairs, so that nothing repeats, and of a size that FFTs like."""


@dataclass(frozen=True, slots=True)
class PairRequest:
    """Which pairs: pair i has patches of `patches_px[i % n]` and the pattern i of `seed`.

    `transmission` and `visibility` are ranges, the latter of the contrast to which patterns are
    scaled (None leaves them theirs); `counts` is N0. Displacements are the paper's:
    normal node values clipped at ±1 px. Half of the pairs carry the factor det(1 − ∇u).
    """

    shape: tuple[int, int] = (256, 256)
    seed: int = 1
    patches_px: tuple[int, ...] = PATCHES_PX
    counts: float = 1000.0
    transmission: tuple[float, float] = (0.5, 1.0)
    visibility: tuple[float, float] | None = None


def unseen_pairs(request: PairRequest, count: int) -> Iterator[PairSample]:
    """Pairs one by one, in counts, as batches of one.

    They are unseen as long as the seed is not that of a training recipe. Pair i depends on the
    request and on i alone.
    """
    low, high = request.transmission
    settings = PairSettings(
        visibility=request.visibility,
        counts=(request.counts, request.counts),
        transmission=request.transmission,
        flat=1.0 if low == high else 0.5,
        deformation=PAPER,
    )
    side = -(-(max(request.shape) + _MARGIN_PX) // _ROUND_PX) * _ROUND_PX
    for index in range(count):
        pattern = reference_pattern(index, (side, side), request.seed)
        generator = seeded_generator(request.seed, index)
        patch_px = request.patches_px[index % len(request.patches_px)]
        pair = make_pairs(pattern[None], 1, request.shape, settings, generator, [patch_px])
        yield PairSample(
            reference=(pair.reference * request.counts).round(),
            sample=(pair.sample * request.counts).round(),
            displacement_px=pair.displacement_px,
            transmission=pair.transmission,
        )
