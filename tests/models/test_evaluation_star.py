"""The star map: its truth, and how the resolution is read."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from cade.displacement import Displacement
from models.evaluation.star import (
    AMPLITUDE_PX,
    StarProfiles,
    periods,
    resolution,
    star_displacement,
    star_pair,
    star_patterns,
    star_profile,
    star_profiles,
    star_row,
)
from models.evaluation.window_sizes import WindowFrames, window_study
from models.tracker import Provenance, Tracker
from models.zncc_tracker import ZnccTracker
from simulator.pattern import at_pixels, measure_speckle

CPU = torch.device("cpu")
SHAPE = (65, 400)


class Damped(Tracker):
    """Finds the star's truth with an amplitude that a low pass of that length leaves."""

    def __init__(self, length_px: float, shape: tuple[int, int], *, valid: bool = True) -> None:
        self.device, self.valid = CPU, valid
        self.provenance = Provenance("damped", {})
        share = 1 - (length_px / periods(shape[1])) ** 2
        self.field = star_displacement(shape) * share.clamp(min=0)

    def _estimate(self, reference: torch.Tensor, *_: Any) -> Displacement[torch.Tensor]:
        raise NotImplementedError

    def track(self, reference: Any, sample: Any) -> Displacement[Any]:
        valid = torch.full(sample.shape, self.valid)
        u = torch.where(valid, self.field, torch.nan)
        return Displacement(u[0], u[1], valid)


@pytest.fixture(scope="module")
def patterns() -> list[torch.Tensor]:
    return star_patterns(1)


def test_speckle_is_as_the_paper_says(patterns: list[torch.Tensor]) -> None:
    for pattern in patterns:
        speckle = measure_speckle(at_pixels(pattern))
        assert speckle.fwhm_px == pytest.approx(4.0, abs=0.25)
        assert speckle.visibility == pytest.approx(0.3, abs=0.01)


def test_truth_is_that_of_the_challenge() -> None:
    u = star_displacement((501, 2000))
    assert torch.equal(u[0], torch.zeros(501, 2000))
    assert torch.equal(u[1, 250], torch.full((2000,), AMPLITUDE_PX))
    for y, x in ((0, 0), (300, 1234), (500, 1999)):
        expected = 0.5 * math.cos(2 * math.pi * (y - 250) / (10 + 0.07 * x))
        assert float(u[1, y, x]) == pytest.approx(expected, abs=1e-3)


def test_pair_moves_down_where_the_truth_is_positive(patterns: list[torch.Tensor]) -> None:
    shape = (65, 1000)
    pair = star_pair(patterns[0], shape, 1e6, torch.Generator().manual_seed(0))
    found = ZnccTracker(CPU, 11).track(*pair)
    centre = found.uy_px[shape[0] // 2, 900:]
    assert float(centre.nanmean()) == pytest.approx(0.5, abs=0.05)
    assert abs(float(found.ux_px[shape[0] // 2, 900:].nanmean())) < 0.02


def test_resolution_of_a_known_loss(patterns: list[torch.Tensor]) -> None:
    """1 − (l/λ)² is 0.9 at λ = l·√10."""
    found = star_profiles(Damped(20.0, SHAPE), patterns[:1], SHAPE)
    row = star_row(found)
    assert row.reached
    assert row.resolution_px == pytest.approx(20 * math.sqrt(10), abs=0.5)
    assert row.overshoot == 0
    assert row.last_bias_px == pytest.approx(20 * math.sqrt(10), abs=1)
    assert math.isnan(row.resolution_error_px)  # one pattern has no spread


def test_resolution_of_a_noisy_profile() -> None:
    period = periods(2000)
    generator = torch.Generator().manual_seed(3)
    share = 1 - (20 / period) ** 2 + 0.05 * torch.randn(2000, generator=generator)
    assert resolution(period, share)[0] == pytest.approx(63.2, abs=6)


@pytest.mark.parametrize(("share", "is_reached", "at"), [(0.89, False, 149.65), (0.91, True, 10.0)])
def test_ends_of_the_range(share: float, is_reached: bool, at: float) -> None:
    px, reached = resolution(periods(400), torch.full((400,), share))
    assert reached == is_reached
    assert px == pytest.approx(at)


def test_invalid_pixels_are_not_recovered(patterns: list[torch.Tensor]) -> None:
    row = star_row(star_profiles(Damped(1.0, SHAPE, valid=False), patterns[:1], SHAPE))
    assert not row.reached
    assert row.rmse_px == pytest.approx(AMPLITUDE_PX / math.sqrt(2), rel=0.1)


def test_error_and_overshoot_come_from_the_patterns() -> None:
    period = periods(400)
    shares = torch.stack([1.1 - (20 / period) ** 2, 1.1 - (24 / period) ** 2])
    found = StarProfiles(period, shares, 0.0, shares, shares)
    row = star_row(found)
    assert row.resolution_error_px > 0.5
    assert row.overshoot == pytest.approx(0.1, abs=0.03)
    assert row.last_bias_px == pytest.approx(50, abs=2)  # where the mean is 0.9
    high = dataclasses.replace(found, shares=shares + 0.05)
    assert star_row(high).last_bias_px == pytest.approx(149.5, abs=0.5)  # too much is a bias too
    profile = star_profile(found, columns=4)
    assert len(profile) == 100
    assert profile[-1].share == pytest.approx(float(shares[:, -4:].mean()))


def test_larger_windows_resolve_less_and_are_less_noisy(patterns: list[torch.Tensor]) -> None:
    frames = WindowFrames(patterns[0][None, :192, :192], patterns[:1], (49, 500))
    rows = window_study(lambda w: ZnccTracker(CPU, w), frames, (9, 21), counts=400.0)
    assert [r.window_px for r in rows] == [9, 21]
    assert rows[0].resolution_px < rows[1].resolution_px
    assert rows[0].rmse_px > rows[1].rmse_px
