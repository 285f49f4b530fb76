"""Whole arrangements against closed forms: prism, magnification, attenuation, spectrum."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from simulator.detector import HALF_PIXELS, detector_intensity
from simulator.diffuser import Sandpaper, diffuser_field
from simulator.diffuser_map import DiffuserMap
from simulator.materials import Material, material
from simulator.optics import Optics
from simulator.pattern import at_pixels, reference_intensity, transmitted_intensity
from simulator.spectrum import Spectrum
from simulator.wave_field import transmit

CONE = Optics()
PARALLEL = Optics(source_distance_m=math.inf, distance_m=0.5, pixel_size_m=3e-6)
GLASS = Material("glass", "", 1.0, 1e-6, 0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted(intensity: torch.Tensor, u_px: float) -> torch.Tensor:
    """I(x − u) along the columns, by the shift theorem."""
    turns = -HALF_PIXELS * u_px * torch.fft.rfftfreq(intensity.shape[1], dtype=torch.float64)
    ramp = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    moved: torch.Tensor = torch.fft.irfft(torch.fft.rfft(intensity.double()) * ramp)
    return moved


@pytest.mark.parametrize("optics", [CONE, PARALLEL], ids=["cone", "parallel"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("u_px", [-1.3, 0.7])
def test_prism_displaces_by_angle_times_distance(optics: Optics, axis: int, u_px: float) -> None:
    """u = α·d/p for a real wedge: one slope over the whole frame, and a jump at its border.

    The jump's diffraction reaches into the frame as 1/distance, 1 % of the intensity at a quarter
    of the frame; in the middle half the fitted displacement still is u to 0.003 px.
    """
    shape = (32, 256) if axis else (256, 32)
    fine = (shape[0] * optics.oversampling, shape[1] * optics.oversampling)
    field = diffuser_field(Sandpaper(12e-6, 0.5), optics, fine, seeded(4))
    alpha = u_px * optics.pixel_size_m / optics.distance_m
    # A ray goes where the phase −kδt grows: away from the thick end.
    along_m = optics.pitch_m * torch.arange(fine[axis], dtype=torch.float64)
    thickness_m = (-alpha / GLASS.delta * along_m).view((1, -1) if axis else (-1, 1)).expand(fine)
    behind = transmit(field, thickness_m, GLASS, optics.geometry.wavenumber_per_m)
    reference, sample = (detector_intensity(f, optics) for f in (field, behind))
    if axis == 0:
        reference, sample = reference.T, sample.T
    reference, sample = reference / reference.mean(), sample / sample.mean()
    middle = slice(128, -128)
    expected = shifted(reference, u_px)[:, middle]
    slope = (shifted(reference, u_px - 0.01) - shifted(reference, u_px + 0.01))[:, middle] / 0.02
    difference = sample.double()[:, middle] - expected
    assert float(difference.std()) < 0.05 * float(expected.std())
    # I(x − u − e) = I(x − u) − e·I′, and `slope` is I′ in px.
    error_px = -float((difference * slope).sum() / slope.square().sum())
    assert abs(error_px) < 0.003


@pytest.mark.parametrize(("source_m", "magnification"), [(1.0, 3), (2.0, 2), (math.inf, 1)])
def test_point_source_magnifies_what_it_shines_on(source_m: float, magnification: int) -> None:
    """Two dark spots s apart are M·s apart on the detector, and at M times their place."""
    optics = Optics(source_distance_m=source_m)
    shape = (24 * magnification, 40 * magnification)
    fine = (shape[0] * optics.oversampling, shape[1] * optics.oversampling)
    soot = Material("soot", "", 1.0, 0.0, 1e4)
    y, x = (optics.pitch_m * np.arange(n) for n in fine)
    row_m, columns_m = 140e-6, (150e-6, 330e-6)
    spots = [
        np.exp(-((y[:, None] - row_m) ** 2 + (x[None, :] - column_m) ** 2) / (2 * 15e-6**2))
        for column_m in columns_m
    ]
    stop = DiffuserMap(20e-6 * (spots[0] + spots[1]), optics.pitch_m, soot)
    dark = 1 - at_pixels(transmitted_intensity(stop, optics, shape, seeded())).double()
    half = round((columns_m[0] + columns_m[1]) / 2 * magnification / optics.pixel_size_m)
    found = []
    for part, first in ((dark[:, :half], 0), (dark[:, half:], half)):
        column = first + float((part.sum(0) * torch.arange(part.shape[1])).sum() / part.sum())
        row = float((part.sum(1) * torch.arange(part.shape[0])).sum() / part.sum())
        assert row * optics.pixel_size_m == pytest.approx(magnification * row_m, rel=0.005)
        found.append(column * optics.pixel_size_m)
    assert found == pytest.approx([magnification * m for m in columns_m], rel=0.005)


@pytest.mark.parametrize(("name", "thickness_m"), [("pmma", 5e-3), ("alumina", 1e-3)])
def test_beer_lambert(name: str, thickness_m: float) -> None:
    """Intensity falls as exp(−μt) with the total μ; float32 and its transforms hold 1e-5."""
    optics = Optics(energy_ev=25e3)
    flat = DiffuserMap(np.full((64, 64), thickness_m), optics.pitch_m, name)
    intensity = transmitted_intensity(flat, optics, (16, 16), seeded())
    expected = math.exp(-material(name, 25e3).mu_per_m * thickness_m)
    torch.testing.assert_close(intensity, torch.full((32, 32), expected), atol=1e-5, rtol=1e-5)


def test_carriers_attenuate() -> None:
    paper = Sandpaper(20e-6, height=1e-6, layers=7, carrier_m=300e-6)
    intensity = transmitted_intensity(paper, CONE, (16, 16), seeded())
    expected = math.exp(-material("cellulose").mu_per_m * 7 * 300e-6)
    assert float(intensity.mean()) == pytest.approx(expected, rel=1e-5)


SPECTRUM = Spectrum(((25e3, 1.0), (30e3, 6.0), (33e3, 0.0), (36e3, 3.0)))
PAPER = Sandpaper(30e-6, 0.6, layers=3)


def test_polychromatic_is_the_weighted_sum() -> None:
    """Of the intensities behind one and the same diffuser, by its shares."""
    optics = replace(CONE, spectrum=SPECTRUM)
    shares = {25e3: 0.1, 30e3: 0.6, 36e3: 0.3}
    single = {
        energy_ev: transmitted_intensity(
            PAPER, replace(CONE, energy_ev=energy_ev), (32, 32), seeded(3)
        )
        for energy_ev in shares
    }
    expected = sum(share * single[energy_ev] for energy_ev, share in shares.items())
    assert isinstance(expected, torch.Tensor)
    together = transmitted_intensity(PAPER, optics, (32, 32), seeded(3))
    torch.testing.assert_close(together, expected, atol=1e-6, rtol=0)
    assert float((single[25e3] - single[36e3]).std()) > 0.02  # each energy has its own pattern
    pattern = reference_intensity(PAPER, optics, (32, 32), seeded(3))
    torch.testing.assert_close(pattern, expected / expected.mean(), atol=1e-6, rtol=0)


def test_a_spectrum_of_one_line_is_monochromatic() -> None:
    one = replace(CONE, spectrum=Spectrum(((30e3, 7.0),)))
    generators = seeded(3), seeded(3)
    alone = transmitted_intensity(PAPER, CONE, (32, 32), generators[0])
    assert torch.equal(transmitted_intensity(PAPER, one, (32, 32), generators[1]), alone)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_thick_matter_hardens_the_beam() -> None:
    """Σ wᵢ·exp(−μᵢt): each energy with its own μ."""
    optics = replace(CONE, spectrum=SPECTRUM)
    flat = DiffuserMap(np.full((64, 64), 10e-3), optics.pitch_m, "pmma")
    expected = sum(
        share * math.exp(-material("pmma", energy_ev).mu_per_m * 10e-3)
        for energy_ev, share in ((25e3, 0.1), (30e3, 0.6), (36e3, 0.3))
    )
    intensity = transmitted_intensity(flat, optics, (16, 16), seeded())
    assert float(intensity.mean()) == pytest.approx(expected, rel=1e-5)
    effective_per_m = -math.log(expected) / 10e-3
    assert material("pmma", 36e3).mu_per_m < effective_per_m < material("pmma", 25e3).mu_per_m
