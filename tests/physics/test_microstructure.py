"""Small-angle scatter: by propagation through random structure, and by the closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from cade.errors import UsageError
from cade.fourier import irfft2, rfft2
from simulator.composite import Composite
from simulator.dark_field import expected_dark_field, scattered
from simulator.detector import HALF_PIXELS, detector_intensity
from simulator.diffuser import Sandpaper, diffuser_field
from simulator.hill_phantom import Hill, HillPhantom
from simulator.materials import Material, material
from simulator.microstructure import MOST_VARIANCE, scattering
from simulator.optics import Optics
from simulator.pattern import at_pixels
from simulator.phantom import Slopes
from simulator.projection import field_grid, pattern_grid, propagated_frame, truth
from simulator.scan import Scan
from simulator.wave_field import transmit

OPTICS = Optics(oversampling=6)
SHAPE = (64, 72)
FINE = (SHAPE[0] * 6, SHAPE[1] * 6)
ALUMINA = material("alumina")
ANYWHERE = torch.zeros(1, 1)


@dataclass(frozen=True)
class Slab:
    """The same thickness everywhere."""

    material: Material
    thick_m: float = 1e-3

    def thickness_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        return self.thick_m + torch.zeros_like(x_m + y_m)

    def slopes(self, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
        return torch.zeros_like(x_m + y_m), torch.zeros_like(x_m + y_m)


SLAB = Slab(ALUMINA)
ABSORBED = math.exp(-SLAB.thick_m * ALUMINA.mu_per_m)


def slab(angle_rad: float, correlation_m: float | None = None, seed: int = 0) -> Composite:
    structure = scattering(SLAB, OPTICS, SLAB.thick_m, angle_rad, correlation_m, seed)
    return Composite((SLAB,), structure)


@pytest.fixture(scope="module")
def field() -> torch.Tensor:
    paper = Sandpaper(grain_m=25e-6, height=0.65)
    return diffuser_field(paper, OPTICS, FINE, torch.Generator().manual_seed(2))


def test_random_thickness_has_its_variance_and_correlation() -> None:
    structure = slab(5e-6, 3e-6).microstructure
    assert structure is not None
    x_m, y_m = (axis.float() for axis in field_grid(OPTICS, SHAPE))
    random_m = structure.random_thickness_m(x_m, y_m, OPTICS.pitch_m)
    rms_m = float(structure.rms_m(ANYWHERE, ANYWHERE))
    assert float(random_m.std()) == pytest.approx(rms_m, rel=1e-3)
    assert abs(float(random_m.mean())) < 0.05 * rms_m
    # σ = √2·δ·rms/ℓ, and that is the rms slope of what was drawn.
    assert math.sqrt(2) * ALUMINA.delta * rms_m / 3e-6 == pytest.approx(5e-6)
    for dim in (0, 1):
        step = ALUMINA.delta * random_m.diff(dim=dim) / OPTICS.pitch_m
        assert float(step.std()) == pytest.approx(5e-6, rel=0.03)
    for lag in (3, 6):
        correlation = float((random_m * random_m.roll(lag, 1)).mean()) / rms_m**2
        expected = math.exp(-((lag * OPTICS.pitch_m / 3e-6) ** 2))
        assert correlation == pytest.approx(expected, abs=0.05)


def test_scatter_far_below_the_correlation_length_is_a_gaussian_blur() -> None:
    """exp(−a·(1 − exp(−Δ²/ℓ²))) → exp(−2π²·(σ·d/p)²·f²)."""
    coarse = replace(OPTICS, pixel_size_m=120e-6, distance_m=0.2, source_distance_m=1.0)
    structure = scattering(SLAB, coarse, SLAB.thick_m, 0.25e-6, 90e-6)
    strength = float(structure.strength(coarse, ANYWHERE, ANYWHERE))
    frequency_px = torch.linspace(0, 0.5, 11)
    sigma_px = 0.25e-6 * coarse.distance_m / coarse.pixel_size_m
    blur = torch.exp(-2 * (math.pi * sigma_px * frequency_px) ** 2)
    kept = torch.exp(-strength * structure.decay(frequency_px, coarse))
    torch.testing.assert_close(1 - kept, 1 - blur, atol=1e-7, rtol=1e-3)


def test_a_grating_loses_the_visibility_of_the_closed_form() -> None:
    """One known frequency, propagated through 6 random structures."""
    period_px = 8
    x_m, y_m = field_grid(OPTICS, SHAPE)
    period_m = period_px * OPTICS.geometry.sample_pixel_m
    grating_m = 6e-6 * torch.cos(2 * math.pi * x_m / period_m) + torch.zeros_like(y_m)
    grating = transmit(
        torch.ones(FINE, dtype=torch.complex64),
        grating_m.float(),
        ALUMINA,
        OPTICS.geometry.wavenumber_per_m,
    )

    def amplitude(image: torch.Tensor) -> float:
        return float(torch.fft.rfft(image.double().mean(0))[SHAPE[1] // period_px].abs())

    plain = amplitude(at_pixels(detector_intensity(grating, OPTICS)))
    frames = [propagated_frame(grating, slab(5e-6, seed=seed), OPTICS) for seed in range(6)]
    mean = torch.stack(frames).mean(dim=0) / ABSORBED
    structure = slab(5e-6).microstructure
    assert structure is not None
    lost = structure.strength(OPTICS, ANYWHERE, ANYWHERE) * structure.decay(
        torch.tensor(1 / period_px), OPTICS
    )
    expected = math.exp(-float(lost))
    assert 0.6 < expected < 0.85
    assert amplitude(mean) / plain == pytest.approx(expected, rel=0.03)


def test_speckle_loses_the_visibility_of_the_closed_form(field: torch.Tensor) -> None:
    reference = detector_intensity(field, OPTICS)
    contrast = at_pixels(reference) - reference.mean()
    for angle_rad in (3e-6, 5e-6):
        structure = slab(angle_rad).microstructure
        assert structure is not None
        strength = structure.strength(OPTICS, ANYWHERE, ANYWHERE)
        expected = float(expected_dark_field(reference, strength, structure, OPTICS))
        frames = [propagated_frame(field, slab(angle_rad, seed=seed), OPTICS) for seed in range(4)]
        found = [float((f / ABSORBED * contrast).sum() / contrast.square().sum()) for f in frames]
        assert sum(found) / len(found) == pytest.approx(expected, rel=0.02)
        spread = scattered(reference, strength.expand(reference.shape), structure, OPTICS)
        blurred = at_pixels(spread)
        slope = float((blurred * contrast).sum() / contrast.square().sum())
        assert slope == pytest.approx(expected, abs=2e-3)


def test_local_scatter_conserves_light_and_stays_local(field: torch.Tensor) -> None:
    pitch_m = OPTICS.geometry.sample_pixel_m
    size_m = (SHAPE[0] * pitch_m, SHAPE[1] * pitch_m)
    hill = HillPhantom(ALUMINA, (Hill(36 * pitch_m, 32 * pitch_m, 20 * pitch_m, 1e-3),), size_m)
    structure = scattering(hill, OPTICS, 1e-3, 5e-6)
    strength = structure.strength(OPTICS, *pattern_grid(OPTICS, SHAPE))
    reference = detector_intensity(field, OPTICS)
    spread = scattered(reference, strength, structure, OPTICS)
    assert float(spread.mean()) == pytest.approx(float(reference.mean()), rel=1e-6)
    change = (spread - reference).abs()
    assert float(change[:10, :10].max()) < 0.01
    assert float(change[54:74, 62:82].mean()) > 0.03
    # Two levels of strength that are not interpolated give exactly what one blur gives.
    everywhere = torch.full_like(strength, float(strength.max()))
    uniform = scattered(reference, everywhere, structure, OPTICS)
    fy = torch.fft.fftfreq(reference.shape[0], 1 / HALF_PIXELS)
    fx = torch.fft.rfftfreq(reference.shape[1], 1 / HALF_PIXELS)
    decay = structure.decay(torch.hypot(fy[:, None], fx[None, :]), OPTICS)
    kept = torch.exp(-float(strength.max()) * decay)
    expected = irfft2(rfft2(reference) * kept, (reference.shape[0], reference.shape[1]))
    torch.testing.assert_close(uniform, expected, atol=1e-5, rtol=0)


def test_truth_of_the_dark_field() -> None:
    pitch_m = OPTICS.geometry.sample_pixel_m
    size_m = (SHAPE[0] * pitch_m, SHAPE[1] * pitch_m)
    hill = HillPhantom(ALUMINA, (Hill(36 * pitch_m, 32 * pitch_m, 25 * pitch_m, 8e-5),), size_m)
    sample = Composite((hill,), scattering(hill, OPTICS, 8e-5, 4e-6))
    with pytest.raises(UsageError, match="depends on the reference pattern"):
        truth(sample, OPTICS, SHAPE)
    scan = Scan(lambda _: sample, SHAPE, 1, optics=OPTICS, propagate_every=2)
    dark_field = scan.truth(0).dark_field
    assert float(dark_field[0, 0]) == pytest.approx(1)
    assert 0.5 < float(dark_field.min()) < 0.95
    assert float(dark_field[32, 36]) == pytest.approx(float(dark_field.min()), abs=0.01)
    plain = Scan(lambda _: hill, SHAPE, 1, optics=OPTICS)
    assert bool((plain.truth(0).dark_field == 1).all())
    assert torch.equal(plain.truth(0).ux_px, scan.truth(0).ux_px)
    # Both ways of making a frame lose contrast in the middle, where it scatters most.
    middle = (slice(22, 42), slice(26, 46))
    quiet, propagated, displaced = (
        s.sample(i)[middle].astype(float) for s, i in ((plain, 0), (scan, 0), (scan, 1))
    )
    assert propagated.std() < 0.97 * quiet.std()
    assert displaced.std() < 0.97 * quiet.std()


@pytest.mark.parametrize(
    ("angle_rad", "correlation_m", "thickest_m", "complaint"),
    [
        (5e-6, 2e-6, 1e-3, None),
        (7.7e-6, 2e-6, 1e-3, None),
        (7.8e-6, 2e-6, 1e-3, "at most 7.7"),
        (5e-6, 4e-6, 1e-3, None),
        (5e-6, 4.01e-6, 1e-3, "the detector sees them"),
        (5e-6, 1.21e-6, 1e-3, None),
        (5e-6, 1.19e-6, 1e-3, "cannot be sampled"),
        (0.0, 2e-6, 1e-3, "above zero"),
        (math.nan, 2e-6, 1e-3, "above zero"),
        (5e-6, 2e-6, 5e-5, "at most 4.2"),
        (4e-6, 2e-6, 5e-5, None),
        (4e-6, 2e-6, 0.0, "at most 0 "),
    ],
)
def test_scatter_guards(
    angle_rad: float, correlation_m: float, thickest_m: float, complaint: str | None
) -> None:
    if complaint is None:
        structure = scattering(SLAB, OPTICS, thickest_m, angle_rad, correlation_m)
        assert structure.variance_m <= MOST_VARIANCE * correlation_m
        return
    with pytest.raises(UsageError, match=complaint):
        scattering(SLAB, OPTICS, thickest_m, angle_rad, correlation_m)
