"""The studies, on frames that take no time, with a tracker that needs no training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cade.displacement import Displacement
from models.evaluation import mean_ratio, patch_study, shift_study, unseen_patterns
from models.tracker import Provenance, Tracker
from models.zncc_tracker import ZnccTracker
from simulator.pattern import reference_patterns

SIDE = 96


@pytest.fixture(scope="module")
def patterns() -> torch.Tensor:
    return reference_patterns(2, (SIDE, SIDE), seed=12)


@pytest.fixture(scope="module")
def zncc() -> ZnccTracker:
    return ZnccTracker(torch.device("cpu"), 15)


class Says(Tracker):
    """A tracker that always says the same, valid or not."""

    def __init__(self, u_px: float, *, valid: bool, sigma_px: float) -> None:
        self.device = torch.device("cpu")
        self.provenance = Provenance("says", {}, has_sigma=True)
        self.u_px, self.valid, self.sigma_px = u_px, valid, sigma_px

    def _estimate(self, reference: torch.Tensor, *_: Any) -> Displacement[torch.Tensor]:
        raise NotImplementedError

    def track(self, reference: Any, sample: Any) -> Displacement[Any]:
        u = torch.full(sample.shape, self.u_px if self.valid else torch.nan)
        sigma = torch.full(sample.shape, self.sigma_px)
        return Displacement(u, u, torch.full(sample.shape, self.valid), sigma, sigma)


def test_patch_study(patterns: torch.Tensor, zncc: ZnccTracker) -> None:
    rows = patch_study(zncc, patterns, patches_px=(16, 64))
    assert [(r.patch_px, r.pairs) for r in rows] == [(16, 2), (64, 2)]
    for row in rows:
        assert 0 < row.limit_px < row.epe_px < 0.5
        assert row.ratio == pytest.approx(row.epe_px / row.limit_px)
        assert row.valid_fraction > 0.9
        assert np.isnan(row.within_one_sigma)  # zncc claims none
    assert rows[1].limit_px < rows[0].limit_px
    total = sum(r.epe_px for r in rows) / sum(r.limit_px for r in rows)
    assert mean_ratio(rows) == pytest.approx(total)


def test_the_limit_falls_with_counts_as_the_root(patterns: torch.Tensor) -> None:
    """Where the prior of 0.4 px does not matter."""
    tracker = Says(0.0, valid=True, sigma_px=1.0)
    limits = [
        patch_study(tracker, patterns, patches_px=(64,), counts=n)[0].limit_px for n in (1e3, 1e5)
    ]
    assert limits[0] / limits[1] == pytest.approx(10, rel=0.03)


def test_saying_nothing_is_as_wrong_as_the_maps_are_wide(patterns: torch.Tensor) -> None:
    [row] = patch_study(Says(0.0, valid=True, sigma_px=100.0), patterns, patches_px=(8,))
    assert row.epe_px == pytest.approx(0.886 * 0.4 * 2**0.5 * (2 / 3), rel=0.1)  # bilinear: 4/9
    assert row.within_one_sigma == 1.0


def test_calling_pixels_invalid_does_not_help(patterns: torch.Tensor) -> None:
    [row] = patch_study(Says(0.0, valid=False, sigma_px=1.0), patterns, patches_px=(8,))
    assert row.epe_px == pytest.approx(2**0.5)
    assert row.valid_fraction == 0.0


def test_shift_study(patterns: torch.Tensor, zncc: ZnccTracker) -> None:
    rows = shift_study(zncc, patterns, shifts_px=(0.0, 0.5), counts=1e4)
    assert [r.shift_px for r in rows] == [0.0, 0.5]
    for row in rows:
        assert row.bias_px <= row.rmse_px < 0.1


def test_shift_study_has_the_sign_of_the_displacement(patterns: torch.Tensor) -> None:
    [row] = shift_study(Says(0.25, valid=True, sigma_px=1.0), patterns, shifts_px=(1.0,))
    assert row.bias_px == row.rmse_px == pytest.approx(0.75)


def test_unseen_patterns_are_reproducible() -> None:
    first, second = unseen_patterns(1, 64), unseen_patterns(2, 64)
    assert first.shape == (1, 128, 128)
    assert torch.equal(first[0], second[0])
