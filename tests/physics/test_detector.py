"""From the wave field to counts: where pixels are, how much is blurred, how much noise there is."""

from __future__ import annotations

import math

import pytest
import torch

from cade.errors import UsageError
from simulator.detector import HALF_PIXELS, detector_intensity, expose
from simulator.optics import Optics
from simulator.pattern import at_pixels

SHAPE = (32, 40)


def spot(row_px: float, column_px: float, sigma_px: float, optics: Optics) -> torch.Tensor:
    """A field whose intensity is a Gaussian around a place in pixels."""
    y, x = (torch.arange(n * optics.oversampling) / optics.oversampling for n in SHAPE)
    r2 = (y[:, None] - row_px) ** 2 + (x[None, :] - column_px) ** 2
    return torch.exp(-r2 / (4 * sigma_px**2)).to(torch.complex64)


def moments(image: torch.Tensor) -> tuple[float, float, float, float]:
    """Centre and variance along rows and columns, in samples."""
    weight = image.double() / image.double().sum()
    y, x = (torch.arange(n, dtype=torch.float64) for n in image.shape)
    row, column = float((weight.sum(1) * y).sum()), float((weight.sum(0) * x).sum())
    spread_y = float((weight.sum(1) * (y - row) ** 2).sum())
    return row, column, spread_y, float((weight.sum(0) * (x - column) ** 2).sum())


@pytest.mark.parametrize("oversampling", [2, 4])
def test_pixel_i_j_is_at_i_j(oversampling: int) -> None:
    optics = Optics(oversampling=oversampling, distance_m=1e-3)
    intensity = detector_intensity(spot(11, 23, 2.0, optics), optics)
    assert intensity.shape == (HALF_PIXELS * SHAPE[0], HALF_PIXELS * SHAPE[1])
    row, column, _, _ = moments(at_pixels(intensity))
    assert (row, column) == pytest.approx((11, 23), abs=1e-3)


def test_blur_is_source_psf_and_pixel() -> None:
    # So short a distance that free space does nothing; the source is made larger in turn.
    optics = Optics(distance_m=1e-3, source_fwhm_m=20e-3)
    source_px = 20e-3 / 2.355 * 1e-3 / 12e-6
    assert optics.blur_sigma_px == pytest.approx(math.hypot(source_px, 1 / 2.355))
    intensity = detector_intensity(spot(16, 20, 1.0, optics), optics)
    _, _, spread_y, spread_x = moments(intensity)
    expected = HALF_PIXELS**2 * (1 + source_px**2 + (1 / 2.355) ** 2 + 1 / 12)
    assert (spread_y, spread_x) == pytest.approx((expected, expected), rel=2e-3)


def test_detector_keeps_the_mean() -> None:
    optics = Optics()
    fine = tuple(n * optics.oversampling for n in SHAPE)
    field = torch.randn(fine, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    mean = float(field.abs().square().mean())
    assert float(detector_intensity(field, optics).mean()) == pytest.approx(mean, rel=1e-5)


def test_counts_are_poisson() -> None:
    intensity = torch.full((400, 400), 0.7)
    counts = expose(intensity, 500.0, torch.Generator().manual_seed(0))
    assert float(counts.mean()) == pytest.approx(350, rel=5e-3)
    assert float(counts.var()) == pytest.approx(350, rel=2e-2)
    assert bool((counts == counts.round()).all())
    assert float(expose(torch.tensor([-0.1]), 500.0, torch.Generator().manual_seed(0))) == 0


@pytest.mark.parametrize(("oversampling", "good"), [(2, True), (4, True), (3, False), (0, False)])
def test_oversampling_guard(oversampling: int, good: bool) -> None:
    if good:
        assert Optics(oversampling=oversampling).pitch_m == pytest.approx(4e-6 / oversampling)
        return
    with pytest.raises(UsageError, match="oversampling"):
        Optics(oversampling=oversampling)


def test_grid_that_is_too_small_is_refused() -> None:
    optics = Optics()
    detector_intensity(torch.ones(28, 28, dtype=torch.complex64), optics)
    with pytest.raises(UsageError, match="at least 28 samples"):
        detector_intensity(torch.ones(24, 64, dtype=torch.complex64), optics)
