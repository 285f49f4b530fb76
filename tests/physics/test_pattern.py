"""Reference patterns: the paper's speckle sizes and visibilities, and reproducibility."""

from __future__ import annotations

import math

import pytest
import torch

from cade.errors import CadeError
from simulator.diffuser import Sandpaper, grain_thickness
from simulator.optics import Optics
from simulator.pattern import (
    GRAINS_M,
    HEIGHTS,
    MIN_VISIBILITY,
    Speckle,
    at_pixels,
    check_speckle,
    measure_speckle,
    reference_intensity,
    reference_pattern,
    reference_patterns,
)


@pytest.fixture(scope="module")
def corners() -> list[torch.Tensor]:
    """Patterns of the finest to the coarsest grain, low and high."""
    middle_m = math.sqrt(GRAINS_M[0] * GRAINS_M[1])
    return [
        reference_intensity(
            Sandpaper(grain_m, height), Optics(), (112, 112), torch.Generator().manual_seed(3)
        )
        for grain_m in (GRAINS_M[0], middle_m, GRAINS_M[1])
        for height in HEIGHTS
    ]


def test_speckle_size_and_visibility_are_in_the_papers_range(corners: list[torch.Tensor]) -> None:
    """22 to 110 µm (section II-A) and a visibility of at least 20 %, also at the edges."""
    speckles = [measure_speckle(at_pixels(pattern)) for pattern in corners]
    sizes_m = [12e-6 * speckle.fwhm_px for speckle in speckles]
    assert 22e-6 < min(sizes_m) < 32e-6
    assert 70e-6 < max(sizes_m) < 110e-6
    assert all(0.2 <= speckle.visibility < 0.7 for speckle in speckles)


def test_mean_is_one_and_intensity_not_negative(corners: list[torch.Tensor]) -> None:
    for pattern in corners:
        assert float(pattern.mean()) == pytest.approx(1, abs=1e-5)
        assert float(pattern.min()) > 0


def test_longer_set_begins_with_the_shorter() -> None:
    longer = reference_patterns(3, (32, 40), seed=5)
    assert longer.shape == (3, 64, 80)
    assert torch.equal(longer[:2], reference_patterns(2, (32, 40), seed=5))
    assert torch.equal(longer[2], reference_pattern(2, (32, 40), seed=5))


def test_seeds_and_indices_differ() -> None:
    first = reference_patterns(2, (32, 32), seed=5)
    other = reference_patterns(1, (32, 32), seed=6)
    for a, b in ((first[0], first[1]), (first[0], other[0])):
        assert abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) < 0.3


@pytest.mark.parametrize("coverage", [0.2, 0.5])
def test_grains_cover_what_they_should(coverage: float) -> None:
    paper = Sandpaper(grain_m=10e-6, coverage=coverage)
    thickness_m = grain_thickness(paper, (256, 256), 1e-6, torch.Generator().manual_seed(0))
    assert float((thickness_m > 0).float().mean()) == pytest.approx(coverage, abs=0.02)
    assert float(thickness_m.min()) == 0


def test_grain_size_is_the_correlation_length() -> None:
    """Nearly full coverage leaves the Gaussian field itself, whose correlation is known."""
    paper = Sandpaper(grain_m=12e-6, coverage=0.99999)
    thickness_m = grain_thickness(paper, (512, 512), 1e-6, torch.Generator().manual_seed(0))
    assert measure_speckle(thickness_m).fwhm_px == pytest.approx(12, rel=0.05)


def test_measured_speckle_of_a_known_pattern() -> None:
    """White noise blurred by σ has an autocorrelation of FWHM 2.355·√2·σ."""
    frequency = torch.fft.fftfreq(256)
    low_pass = torch.exp(-2 * (math.pi * 2.0 * frequency) ** 2)
    white = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    smooth = torch.fft.ifft2(torch.fft.fft2(white) * low_pass[:, None] * low_pass).real
    speckle = measure_speckle(100 * (1 + 0.25 * smooth / smooth.std()))
    assert speckle.fwhm_px == pytest.approx(2.355 * math.sqrt(2) * 2.0, rel=0.04)
    assert speckle.visibility == pytest.approx(0.25, rel=0.02)
    assert measure_speckle(torch.arange(64.0)[None, :] % 2 + 1).fwhm_px == math.inf


@pytest.mark.parametrize(
    ("speckle", "message"),
    [
        (Speckle(3.0, MIN_VISIBILITY), None),
        (Speckle(3.0, 0.0199), "pattern 7: no usable speckle, the visibility is 2 %"),
        (Speckle(3.0, 0.004), "is 0.4 % and must be at least 2 %; use a rougher diffuser"),
        (Speckle(3.0, math.nan), "no usable speckle"),
        (Speckle(3.0, math.inf), "no usable speckle"),
        (Speckle(math.inf, 0.3), "wider than the image"),
    ],
)
def test_patterns_without_speckle_are_refused(speckle: Speckle, message: str | None) -> None:
    if message is None:
        check_speckle(speckle, "pattern 7")
        return
    with pytest.raises(CadeError, match=message):
        check_speckle(speckle, "pattern 7")


def test_an_even_field_has_no_speckle() -> None:
    with pytest.raises(CadeError, match="visibility is 0 %"):
        check_speckle(measure_speckle(torch.ones(16, 16)), "flat")
    pattern = reference_pattern(0, (32, 32), seed=5)
    check_speckle(measure_speckle(at_pixels(pattern)), "pattern")
