"""From the wave field to counts: where pixels are, how much is blurred, how much noise there is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cade.errors import UsageError
from simulator.detector import HALF_PIXELS, Detector, detector_intensity, expose, record
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


def recorded(detector: Detector, counts: float, seed: int = 0) -> np.ndarray[tuple[int, ...]]:
    return record(detector, torch.ones(400, 400), counts, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("gain", "dark_level", "read_noise"), [(1, 0, 0), (3.5, 0, 0), (0.5, 100, 0), (2.5, 120, 40)]
)
def test_photon_transfer(gain: float, dark_level: float, read_noise: float) -> None:
    """Mean = g·N + dark; variance = g²·N + read² + 1/12 for the rounding."""
    photons, pixels = 900.0, 400 * 400
    detector = Detector(gain=gain, dark_level=dark_level, read_noise=read_noise)
    values = recorded(detector, photons).astype(float)
    variance = gain**2 * photons + read_noise**2 + (0 if gain == 1 else 1 / 12)
    assert abs(values.mean() - gain * photons - dark_level) < 4 * math.sqrt(variance / pixels)
    assert abs(values.var() / variance - 1) < 4 * math.sqrt(2 / pixels)


def test_dark_frame() -> None:
    detector = Detector(dark_level=50, read_noise=6)
    dark = record(detector, torch.zeros(300, 300), 1e4, torch.Generator().manual_seed(1))
    assert dark.mean() == pytest.approx(50, abs=0.1)
    assert dark.std() == pytest.approx(math.sqrt(36 + 1 / 12), rel=0.02)
    # Below zero there are no numbers.
    low = record(Detector(read_noise=6), torch.zeros(300, 300), 1, torch.Generator())
    assert low.min() == 0
    assert (low == 0).mean() == pytest.approx(0.5, abs=0.05)


def test_the_plain_detector_counts_photons() -> None:
    counts = expose(torch.ones(50, 50), 700.0, torch.Generator().manual_seed(4))
    frame = record(Detector(), torch.ones(50, 50), 700.0, torch.Generator().manual_seed(4))
    assert frame.dtype == np.uint16
    np.testing.assert_array_equal(frame, counts.numpy())


@pytest.mark.parametrize(
    ("detector", "largest"),
    [
        (Detector(gain=100), 65535),
        (Detector(gain=100, saturation=60_000), 60_000),
        (Detector(gain=100, dtype="uint32", saturation=66_000), 66_000),
    ],
)
def test_saturation_clips(detector: Detector, largest: int) -> None:
    frame = recorded(detector, 650)
    assert frame.dtype == detector.dtype
    assert frame.max() == largest
    assert 0.3 < (frame == largest).mean() < 0.99
    assert recorded(Detector(gain=100, dtype="uint32"), 650).max() > 66_000


@pytest.mark.parametrize("count", [0, 1, 10, 11])
def test_bad_pixels_stay_where_they_are(count: int) -> None:
    detector = Detector(dark_level=20, bad_pixels=count, bad_seed=3)
    first, second = recorded(detector, 500, seed=1), recorded(detector, 500, seed=2)
    for value, expected in ((0, (count + 1) // 2), (65535, count // 2)):
        assert (first == value).sum() == expected
        np.testing.assert_array_equal(first == value, second == value)
    elsewhere = recorded(Detector(dark_level=20, bad_pixels=count, bad_seed=4), 500)
    if count:
        assert not np.array_equal(elsewhere == 0, first == 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"gain": 0.0},
        {"gain": math.nan},
        {"dark_level": -1.0},
        {"read_noise": -0.1},
        {"read_noise": math.inf},
        {"bad_pixels": -1},
        {"saturation": 0},
        {"saturation": 100, "dark_level": 100.0},
        {"saturation": 65_536},
        {"saturation": 2**32, "dtype": "uint32"},
        {"dtype": "int8"},
    ],
)
def test_no_such_detector(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="detector"):
        Detector(**settings)  # type: ignore[arg-type]


def test_detectors_at_the_limits() -> None:
    for detector in (
        Detector(gain=1e-6, read_noise=0, dark_level=0, bad_pixels=0),
        Detector(saturation=101, dark_level=100),
        Detector(saturation=65_535),
        Detector(saturation=2**32 - 1, dtype="uint32"),
    ):
        assert detector.white > detector.dark_level


def test_exposure_guard() -> None:
    detector = Detector(gain=2, dark_level=10, saturation=1010, bad_pixels=99)
    detector.check_exposure(499, (10, 10))
    with pytest.raises(UsageError, match="at or above saturation"):
        detector.check_exposure(500, (10, 10))
    for counts in (0, -1, math.nan, math.inf):
        with pytest.raises(UsageError, match="positive number"):
            detector.check_exposure(counts, (10, 10))
    with pytest.raises(UsageError, match="99 bad pixels are all of a frame"):
        detector.check_exposure(100, (9, 11))
