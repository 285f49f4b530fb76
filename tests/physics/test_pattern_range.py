"""Sets of patterns keep to their limits, and each pattern depends on seed and index alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from cade.errors import UsageError
from simulator.pattern import Speckle, at_pixels, measure_speckle
from simulator.pattern_range import (
    PAPER_RANGE,
    RANGES,
    WIDE_RANGE,
    PatternRange,
    draw_pattern,
)

SHAPE = (64, 64)


def test_limits_are_those_of_the_paper_and_the_wide_set() -> None:
    assert [12 * size for size in PAPER_RANGE.fwhm_px] == pytest.approx([22, 110])
    assert PAPER_RANGE.visibility[0] == 0.2
    assert WIDE_RANGE.fwhm_px == (1.8, 12.0)
    assert WIDE_RANGE.visibility == (0.05, 0.6)
    assert set(RANGES) == {"paper", "wide"}


@pytest.mark.parametrize(
    ("speckle", "holds"),
    [
        (Speckle(4, 0.3), True),
        (Speckle(1.7, 0.3), False),
        (Speckle(12.1, 0.3), False),
        (Speckle(4, 0.049), False),
        (Speckle(4, 0.61), False),
        (Speckle(float("inf"), 0.3), False),
    ],
)
def test_holds(speckle: Speckle, holds: bool) -> None:
    assert WIDE_RANGE.holds(speckle) == holds


@pytest.mark.parametrize("limits", RANGES.values(), ids=RANGES)
def test_patterns_are_within_the_limits(limits: PatternRange) -> None:
    for index in range(4):
        drawn = draw_pattern(index, SHAPE, 3, limits)
        assert drawn.speckle == measure_speckle(at_pixels(drawn.intensity))
        assert limits.holds(drawn.speckle)
        assert drawn.intensity.shape == (128, 128)
        assert float(drawn.intensity.mean()) == pytest.approx(1, abs=1e-5)
        assert float(drawn.intensity.min()) > 0
        assert limits.contrast[0] <= drawn.contrast <= 1
        assert (drawn.distance_m == 2) or drawn.paper.grain_m < limits.near_grain_m


def test_seed_and_index_make_the_pattern() -> None:
    first = draw_pattern(1, SHAPE, 3, PAPER_RANGE)
    assert torch.equal(first.intensity, draw_pattern(1, SHAPE, 3, PAPER_RANGE).intensity)
    assert not torch.equal(first.intensity, draw_pattern(2, SHAPE, 3, PAPER_RANGE).intensity)
    assert not torch.equal(first.intensity, draw_pattern(1, SHAPE, 4, PAPER_RANGE).intensity)


def test_what_is_outside_is_drawn_again() -> None:
    """Half of the range's sandpapers make speckle finer than its limit."""
    coarse = dataclasses.replace(PAPER_RANGE, fwhm_px=(4.5, 12.0))
    drawn = [draw_pattern(index, SHAPE, 3, coarse) for index in range(4)]
    assert all(pattern.speckle.fwhm_px >= 4.5 for pattern in drawn)
    assert any(pattern.draws > 1 for pattern in drawn)


def test_limits_that_no_draw_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.pattern_range.MOST_DRAWS", 5)
    nothing = dataclasses.replace(PAPER_RANGE, visibility=(0.99, 1.0))
    with pytest.raises(UsageError, match="pattern 7: none of 5 draws at 64 × 64 px is within"):
        draw_pattern(7, SHAPE, 3, nothing)
    tiny = dataclasses.replace(PAPER_RANGE, grains_m=(0.4e-6, 0.5e-6), near_grain_m=0.0)
    with pytest.raises(UsageError, match=r"the last one: .+; use a larger --shape"):
        draw_pattern(7, SHAPE, 3, tiny)
