"""Spectra, and the arrangements that are made of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cade.errors import UsageError
from simulator.optics import Optics
from simulator.spectrum import Spectrum


def test_shares_and_mean() -> None:
    spectrum = Spectrum(((20e3, 1.0), (30e3, 0.0), (40e3, 3.0)))
    assert spectrum.shares == ((20e3, 0.25), (40e3, 0.75))
    assert spectrum.mean_ev == 35e3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "no line"),
        (((0.0, 1.0),), "positive number of eV"),
        (((math.nan, 1.0),), "positive number of eV"),
        (((math.inf, 1.0),), "positive number of eV"),
        (((2e4, -0.1), (3e4, 1.0)), "weight at 20000 eV"),
        (((2e4, math.nan),), "weight at 20000 eV"),
        (((2e4, math.inf),), "weight at 20000 eV"),
        (((3e4, 1.0), (2e4, 1.0)), "must ascend.*20000 eV follows 30000 eV"),
        (((3e4, 1.0), (3e4, 1.0)), "must ascend, each once"),
        (((2e4, 0.0), (3e4, 0.0)), "all weights are zero"),
    ],
)
def test_impossible_spectra(lines: tuple[tuple[float, float], ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Spectrum(lines)


def test_optics_of_every_line() -> None:
    assert Optics().lines == ((Optics(), 1.0),)
    optics = Optics(spectrum=Spectrum(((25e3, 1.0), (35e3, 1.0))))
    assert optics.lines == ((Optics(energy_ev=25e3), 0.5), (Optics(energy_ev=35e3), 0.5))


@pytest.mark.parametrize(("energy_ev", "fits"), [(25e3, True), (35e3, True), (24e3, False)])
def test_nominal_energy_lies_in_the_spectrum(energy_ev: float, fits: bool) -> None:
    spectrum = Spectrum(((20e3, 0.0), (25e3, 1.0), (35e3, 1.0)))
    if fits:
        assert Optics(energy_ev=energy_ev, spectrum=spectrum).geometry.energy_ev == energy_ev
        return
    with pytest.raises(
        UsageError, match=r"24000 lies outside.*25000 to 35000 eV; its mean is 30000"
    ):
        Optics(energy_ev=energy_ev, spectrum=spectrum)


def test_parallel_beam() -> None:
    optics = Optics(source_distance_m=math.inf)
    assert optics.geometry.magnification == 1
    assert optics.effective_distance_m == optics.distance_m
    assert optics.pitch_m == optics.pixel_size_m / 4
    assert optics.blur_sigma_px == optics.psf_sigma_px  # the source's image is a point


@pytest.mark.parametrize(
    "change",
    [
        {"source_distance_m": 0.0},
        {"source_distance_m": math.nan},
        {"distance_m": -1.0},
        {"distance_m": math.inf},
        {"source_fwhm_m": -1e-6},
        {"source_fwhm_m": math.inf},
        {"psf_sigma_px": math.nan},
        {"oversampling": 3},
    ],
)
def test_impossible_arrangements(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        replace(Optics(), **change)  # type: ignore[arg-type]
