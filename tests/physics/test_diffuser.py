"""Sandpaper, membranes and maps: what they are made of, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cade.errors import UsageError
from simulator.diffuser import Diffuser, Sandpaper, diffuser_field
from simulator.diffuser_map import DiffuserMap, periodic_map
from simulator.materials import Material, material
from simulator.membrane import Membrane, membrane_thickness
from simulator.optics import Optics
from simulator.pattern import at_pixels, measure_speckle, reference_intensity
from simulator.spectrum import Spectrum

OPTICS = Optics()
PARALLEL = Optics(energy_ev=25e3, source_distance_m=math.inf, distance_m=0.3, pixel_size_m=3e-6)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "change",
    [
        {"grain_m": 0.0},
        {"grain_m": 25.0},
        {"grain_m": math.nan},
        {"height": 0.0},
        {"height": 10.1},
        {"coverage": 0.0},
        {"coverage": 1.0},
        {"layers": 0},
        {"layers": 1001},
        {"carrier_m": -1e-6},
        {"carrier_m": 0.2},
    ],
)
def test_impossible_sandpaper(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"sandpaper: {next(iter(change))}"):
        replace(Sandpaper(25e-6), **change)


@pytest.mark.parametrize(
    "change",
    [
        {"pore_m": 0.0},
        {"pore_m": 5.0},
        {"porosity": 0.0},
        {"porosity": 1.0},
        {"porosity": math.nan},
        {"thickness_m": 4e-6},
        {"thickness_m": 0.02},
        {"sheets": 0},
        {"sheets": 1001},
    ],
)
def test_impossible_membrane(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"membrane: {next(iter(change))}"):
        replace(Membrane(5e-6), **change)


def test_extremes_are_possible() -> None:
    Sandpaper(5e-3, height=10, coverage=0.999, layers=1000, carrier_m=0.0)
    Membrane(5e-6, porosity=0.01, thickness_m=5e-6, sheets=1000)


def test_materials_of_a_diffuser() -> None:
    """Any material: with half the δ, and no absorption, half the phase."""
    light = Material("light", "", 1.0, 1e-8, 0.0)
    phases = []
    for factor in (1, 2):
        grains = replace(light, delta=factor * light.delta)
        paper = Sandpaper(20e-6, layers=1, carrier_m=0.0, grains=grains)
        phases.append(diffuser_field(paper, OPTICS, (64, 64), seeded()).angle())
    torch.testing.assert_close(phases[1], 2 * phases[0], atol=1e-5, rtol=0)
    assert float(phases[0].min()) < -0.005
    with pytest.raises(UsageError, match="unknown material 'unobtainium'"):
        diffuser_field(Sandpaper(20e-6, grains="unobtainium"), OPTICS, (64, 64), seeded())


def test_a_wave_field_has_one_energy() -> None:
    optics = replace(OPTICS, spectrum=Spectrum(((30e3, 1.0), (31e3, 1.0))))
    with pytest.raises(UsageError, match="one energy"):
        diffuser_field(Sandpaper(20e-6), optics, (64, 64), seeded())


@pytest.mark.parametrize("porosity", [0.3, 0.7])
def test_membrane_has_its_porosity(porosity: float) -> None:
    """Mean 1 − porosity of the thickness; spread that of independent levels, somewhat softened."""
    membrane = Membrane(5e-6, porosity, thickness_m=100e-6)
    thickness_m = membrane_thickness(membrane, (512, 512), 0.5e-6, seeded()).double()
    assert membrane.levels == 20
    assert float(thickness_m.mean()) == pytest.approx((1 - porosity) * 100e-6, rel=0.02)
    two_phase_m = 5e-6 * math.sqrt(20 * porosity * (1 - porosity))
    assert 0.8 * two_phase_m < float(thickness_m.std()) < 1.02 * two_phase_m
    assert float(thickness_m.min()) >= 0
    assert float(thickness_m.max()) <= 100.001e-6
    single = membrane_thickness(replace(membrane, thickness_m=5e-6), (512, 512), 0.5e-6, seeded())
    wall_or_pore = (single < 1e-9) | (single > 4.999e-6)
    assert float(wall_or_pore.float().mean()) > 0.6
    # As long as the field they are cut from: a little less, for walls are steep.
    assert 3.2 < 0.5 * measure_speckle(single + 1e-3).fwhm_px < 5.5


@pytest.mark.parametrize("sheets", [1, 3])
def test_membrane_makes_speckle(sheets: int) -> None:
    """In a parallel beam, as filters do at synchrotrons."""
    pattern = reference_intensity(Membrane(8e-6, sheets=sheets), PARALLEL, (64, 64), seeded())
    speckle = measure_speckle(at_pixels(pattern))
    assert 1.2 < speckle.fwhm_px < 3
    assert 0.05 < speckle.visibility < 0.6


def test_sheets_are_apart() -> None:
    slices = list(Membrane(8e-6, sheets=2).slices(PARALLEL, (64, 64), seeded()))
    assert [layer.behind_m for layer in slices] == [120e-6, 120e-6]
    assert not torch.equal(slices[0].thickness_m, slices[1].thickness_m)
    with pytest.raises(UsageError, match=r"pores of 2 µm .* at least 6 samples"):
        list(Membrane(2e-6).slices(PARALLEL, (64, 64), seeded()))


def waves(shape: tuple[int, int], length: tuple[float, float]) -> torch.Tensor:
    """A surface that repeats after `length` samples."""
    y, x = (torch.arange(n, dtype=torch.float64) for n in shape)
    phase = 2 * math.pi * (3 * x[None, :] / length[1] + 2 * y[:, None] / length[0])
    return 3 + phase.cos() + 0.3 * (2 * phase).sin()


def test_map_of_the_frames_pitch_and_size_is_taken_as_it_is() -> None:
    values = waves((40, 60), (40, 60))
    assert torch.equal(periodic_map(values, 2e-6, (40, 60), 2e-6), values)


@pytest.mark.parametrize(("rows", "error"), [(80, 1e-3), (64, 1e-3), (26, 1e-3), (16, 0.25)])
def test_map_of_the_frames_size_is_resampled(rows: int, error: float) -> None:
    """By the cubic spline, across the border too; where the map is twice as fine it is averaged.

    The mean of two samples takes 4 % of the shortest wave here, 10 samples long, and the spline on
    ten nodes a wave errs by 1e-4.
    """
    wanted = (rows, rows * 3 // 2)
    resampled = periodic_map(waves((40, 60), (40, 60)), 1e-6, wanted, 40e-6 / rows)
    assert float((resampled - waves(wanted, wanted)).abs().max()) < error


@pytest.mark.parametrize("step", [1.0, 0.8, 2.5])
def test_larger_map_is_cut_and_blended(step: float) -> None:
    """As it is but for the first eighth, and without a jump to its beginning."""
    values = waves((150, 300), (170, 290))
    shape = (round(128 / step), round(256 / step))
    cut = periodic_map(values, 1e-6, shape, step * 1e-6)
    y, x = (step * torch.arange(n, dtype=torch.float64) for n in shape)
    phase = 2 * math.pi * (3 * x[None, :] / 290 + 2 * y[:, None] / 170)
    expected = 3 + phase.cos() + 0.3 * (2 * phase).sin()
    clear = (slice(shape[0] // 8 + 1, None), slice(shape[1] // 8 + 1, None))
    assert float((cut - expected)[clear].abs().max()) < 0.02
    for dim in (0, 1):
        steps = (cut - cut.roll(1, dims=dim)).abs()
        seam = steps.select(dim, 0).max()
        assert float(seam) < 1.5 * float(steps.narrow(dim, 1, shape[dim] - 1).max())


@pytest.mark.parametrize(("width", "fits"), [(256, True), (255, False)])
def test_smaller_map_is_refused(width: int, fits: bool) -> None:
    values = torch.ones(128, width)
    if fits:
        assert torch.equal(periodic_map(values, 1e-6, (128, 256), 1e-6), torch.ones(128, 256))
        return
    with pytest.raises(UsageError, match="255 samples of 1 µm do not cover the wave field of 256"):
        periodic_map(values, 1e-6, (128, 256), 1e-6)


def test_map_that_jumps_at_the_border_is_refused() -> None:
    slope = np.linspace(0, 100e-6, 64)[None, :] * np.ones((64, 1))  # 13.6 rad
    exact = DiffuserMap(slope, OPTICS.pitch_m, "alumina")
    with pytest.raises(UsageError, match=r"DiffuserMap: .*jumps by 13.6 rad across the border"):
        diffuser_field(exact, OPTICS, (64, 64), seeded())
    field = diffuser_field(exact, OPTICS, (64, 48), seeded())  # 16 samples to blend: 6
    assert field.shape == (64, 48)


@pytest.mark.parametrize(
    ("thickness_m", "pitch_m", "message"),
    [
        (np.ones(8), 1e-6, r"two dimensions .*\(8,\)"),
        (np.ones((1, 8)), 1e-6, "at least 2 samples"),
        (np.full((8, 8), -1e-9), 1e-6, "0 to 0.1"),
        (np.full((8, 8), 25.0), 1e-6, "thickness is in metres"),
        (np.full((8, 8), np.nan), 1e-6, "without NaN"),
        (torch.full((8, 8), math.inf), 1e-6, "without NaN"),
        (np.zeros((8, 8)), 0.0, "pitch_m"),
        (np.zeros((8, 8)), 1.0, "pitch_m"),
        (np.zeros((8, 8)), math.nan, "pitch_m"),
    ],
)
def test_impossible_maps(thickness_m: Any, pitch_m: float, message: str) -> None:
    with pytest.raises(UsageError, match=f"diffuser map: .*{message}"):
        DiffuserMap(thickness_m, pitch_m, "pmma")


def test_a_map_of_one_layer_is_that_layer() -> None:
    """A user's map and the sandpaper it was made from give the same pattern."""
    paper = Sandpaper(20e-6, height=1.2, layers=1, carrier_m=0.0)
    [layer] = paper.slices(OPTICS, (128, 192), seeded(2))
    grains = DiffuserMap(layer.thickness_m.numpy(), OPTICS.pitch_m, material("alumina"))
    diffusers: list[Diffuser] = [paper, grains]
    patterns = [reference_intensity(d, OPTICS, (32, 48), seeded(2)) for d in diffusers]
    assert torch.equal(patterns[0], patterns[1])
    assert measure_speckle(at_pixels(patterns[0])).visibility > 0.05
