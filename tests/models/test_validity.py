"""Speckle that is not the reference's is called invalid, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from models import Tracker, load_tracker
from models.evaluation.unseen import UNSEEN_SEED, random_maps
from simulator.pairs import PairSample, make_pairs
from simulator.pattern import at_pixels, measure_speckle, reference_pattern

SIDE = 256
COUNTS, TRANSMISSION = 1000.0, 0.9
MAP_PX = 64
FWHM_PX = {6: 2.6, 0: 4.2, 4: 7.3}
"""Patterns by index: fine, middling and coarse speckle."""
MARGIN_PX = 8
PLACES_PX = [(row, column) for row in (32, 160) for column in (32, 160)]


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return load_tracker("cade", device="cpu")


@pytest.fixture(scope="module", params=FWHM_PX)
def pair(request: pytest.FixtureRequest) -> PairSample:
    """A pair of frames that belong together, in units of the mean reference count."""
    pattern = reference_pattern(request.param, (SIDE, SIDE), UNSEEN_SEED)
    assert measure_speckle(at_pixels(pattern)).fwhm_px == pytest.approx(
        FWHM_PX[request.param], abs=0.1
    )
    generator = torch.Generator().manual_seed(8)
    settings = random_maps(COUNTS, TRANSMISSION)
    return make_pairs(pattern[None], 1, (SIDE, SIDE), settings, generator, [MAP_PX])


def decorrelated(sample: torch.Tensor) -> torch.Tensor:
    """Speckle of the same kind from elsewhere, with its own noise."""
    return torch.roll(sample, (SIDE // 2, SIDE // 2), dims=(-2, -1))


def covered(sample: torch.Tensor) -> torch.Tensor:
    """Light without speckle, with its noise."""
    light = torch.full_like(sample, TRANSMISSION * COUNTS)
    return torch.poisson(light, torch.Generator().manual_seed(9)) / COUNTS


@pytest.mark.parametrize("spoil", [decorrelated, covered])
@pytest.mark.parametrize("side", [48, 64])
def test_patches_without_the_references_speckle(
    tracker: Tracker,
    pair: PairSample,
    spoil: Callable[[torch.Tensor], torch.Tensor],
    side: int,
) -> None:
    """Mean over one patch in each quarter of the frame, one at a time."""
    inside, outside = [], []
    for row, column in PLACES_PX:
        sample = pair.sample.clone()
        patch = (0, slice(row, row + side), slice(column, column + side))
        sample[patch] = spoil(pair.sample)[patch]
        invalid = ~tracker.track(pair.reference, sample).valid
        far = torch.ones_like(invalid)
        near = [slice(s - MARGIN_PX, s + side + MARGIN_PX) for s in (row, column)]
        far[0, near[0], near[1]] = False
        inside.append(invalid[patch])
        outside.append(invalid[far])
    assert float(torch.stack(inside).float().mean()) >= 0.95
    assert float(torch.stack(outside).float().mean()) <= 0.02


def test_a_whole_pair_is_valid(tracker: Tracker, pair: PairSample) -> None:
    assert tracker.track(pair.reference, pair.sample).valid.float().mean() >= 0.99
