"""The movement of the whole pattern, measured on the sample."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.correction.correction import Correction, make_correction
from daemon.references.drift import measure_drift
from tests.speckle import counts, moved, speckle

SHAPE = (180, 210)
PATTERN = speckle(SHAPE)
NOTHING = Correction()


@pytest.mark.parametrize("shift_px", [(0.0, 0.0), (0.37, -0.62), (-7.25, 3.5), (30.1, -22.9)])
def test_the_shift_is_found_to_a_fiftieth_of_a_pixel(shift_px: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    sample = counts(0.8 * moved(PATTERN, *shift_px) + rng.normal(0, 60, SHAPE))
    drift = measure_drift(counts(PATTERN), sample, NOTHING)
    assert drift.clear
    assert (drift.x_px, drift.y_px) == pytest.approx(shift_px, abs=0.02)
    assert drift.length_px == pytest.approx(np.hypot(*shift_px), abs=0.02)


def test_a_sample_that_absorbs_and_refracts_pulls_only_a_little() -> None:
    y, x = np.indices(SHAPE)
    inside = np.hypot(y - 90, x - 100) < 45
    refracted = np.where(inside, moved(PATTERN, 2.5, 0.2), moved(PATTERN, 1.2, -0.4))
    drift = measure_drift(PATTERN, refracted * np.where(inside, 0.5, 1.0), NOTHING)
    assert drift.clear
    assert (drift.x_px, drift.y_px) == pytest.approx((1.2, -0.4), abs=0.2)


def test_another_pattern_is_not_clear() -> None:
    for seed in range(1, 6):
        assert not measure_drift(PATTERN, speckle(SHAPE, seed), NOTHING).clear


def test_fixed_structures_of_the_detector_do_not_pin_it_once_corrected() -> None:
    gains = 1 + 0.3 * np.random.default_rng(5).standard_normal(SHAPE).clip(-2, 2)
    correction = make_correction(1000 * gains, None)
    shifted = moved(PATTERN, 4.3, 0.0)
    drift = measure_drift(PATTERN * gains, shifted * gains, correction)
    assert (drift.x_px, drift.y_px) == pytest.approx((4.3, 0.0), abs=0.02)


def test_invalid_pixels_do_not_count() -> None:
    reference, sample = PATTERN.copy(), moved(PATTERN, 1.5, 0.5)
    reference[:30], sample[:, 80:90] = np.nan, np.nan
    drift = measure_drift(reference, sample, NOTHING)
    assert drift.clear
    assert (drift.x_px, drift.y_px) == pytest.approx((1.5, 0.5), abs=0.03)
    nothing = np.full(SHAPE, np.nan)
    assert not measure_drift(reference, nothing, NOTHING).clear
