"""Propagation against closed forms of wave optics, in complex128.

The free-space operator is exact for what its grid can hold, so most of these agree to rounding:
some 1e-12 after two transforms of a few hundred samples.
"""

from __future__ import annotations

import cmath
import math

import pytest
import torch

from simulator.materials import Material
from simulator.wave_field import free_space, propagate, transfer_function, transmit

WAVELENGTH_M = 4.13e-11
PITCH_M = 1e-6
ROUNDING = 1e-11


def positions_m(samples: int, pitch_m: float = PITCH_M) -> torch.Tensor:
    """Of a row of samples, zero in the middle."""
    return pitch_m * (torch.arange(samples, dtype=torch.float64) - samples // 2)


def test_phase_object_and_free_space_conserve_energy() -> None:
    generator = torch.Generator().manual_seed(0)
    glass = Material("glass", "", 1.0, 1e-6, 0.0)
    thickness_m = 20e-6 * torch.rand(64, 96, dtype=torch.float64, generator=generator)
    flat = torch.ones(64, 96, dtype=torch.complex128)
    behind = transmit(flat, thickness_m, glass, 2 * math.pi / WAVELENGTH_M)
    assert float((behind.abs() - 1).abs().max()) < ROUNDING
    far = free_space(behind, PITCH_M, 0.5, WAVELENGTH_M)
    assert far.dtype == torch.complex128
    assert float(far.abs().std()) > 0.1  # it has become contrast
    assert float(far.abs().square().mean()) == pytest.approx(1, abs=ROUNDING)


def test_two_distances_are_one() -> None:
    generator = torch.Generator().manual_seed(0)
    field = torch.randn(64, 96, dtype=torch.complex128, generator=generator)
    twice = free_space(free_space(field, PITCH_M, 0.3, WAVELENGTH_M), PITCH_M, 0.4, WAVELENGTH_M)
    once = free_space(field, PITCH_M, 0.7, WAVELENGTH_M)
    torch.testing.assert_close(twice, once, atol=ROUNDING, rtol=0)


PERIOD = 16
TALBOT_M = 2 * (PERIOD * PITCH_M) ** 2 / WAVELENGTH_M


def grating(shift: int = 0) -> torch.Tensor:
    """A row of rough lines that absorb and delay, all the same, with no symmetry."""
    generator = torch.Generator().manual_seed(3)
    line = torch.randn(PERIOD, dtype=torch.complex128, generator=generator)
    return line.repeat(40).roll(shift)[None, :]


@pytest.mark.parametrize(("part", "shift"), [(1.0, 0), (0.5, PERIOD // 2)])
def test_talbot_distance_shows_the_grating_again(part: float, shift: int) -> None:
    """At 2p²/λ as it is, at half of it by half a period: field and phase, not only intensity."""
    image = free_space_of_rows(grating(), part * TALBOT_M)
    torch.testing.assert_close(image, grating(shift), atol=1e-10, rtol=0)


def test_quarter_of_the_talbot_distance_mixes_the_two() -> None:
    """There U = (e^(−iπ/4)·u(x) + e^(iπ/4)·u(x − p/2))/√2: it fixes the sign of the propagator."""
    turn = cmath.exp(1j * math.pi / 4)
    expected = (turn.conjugate() * grating() + turn * grating(PERIOD // 2)) / math.sqrt(2)
    image = free_space_of_rows(grating(), TALBOT_M / 4)
    torch.testing.assert_close(image, expected, atol=1e-10, rtol=0)


def test_phase_grating_becomes_black_and_white() -> None:
    """A binary phase of −π/2 at a quarter of the Talbot distance: intensities 0 and 2.

    −π/2 is what matter does (Φ = −kδt): the bright half is the one without it.
    """
    ridge = (torch.arange(40 * PERIOD) % PERIOD < PERIOD // 2)[None, :]
    field = torch.where(ridge, -1j, 1 + 0j).to(torch.complex128)
    intensity = free_space_of_rows(field, TALBOT_M / 4).abs().square()
    expected = torch.where(ridge, 0.0, 2.0).double()
    torch.testing.assert_close(intensity, expected, atol=1e-10, rtol=0)


def free_space_of_rows(field: torch.Tensor, distance_m: float) -> torch.Tensor:
    """A field that does not depend on y, `(1, W)`."""
    rows = field.expand(field.shape[1], -1)
    return free_space(rows, PITCH_M, distance_m, WAVELENGTH_M)[:1]


@pytest.mark.parametrize("rayleigh_lengths", [0.3, 1.0, 1.7])
def test_gaussian_beam(rayleigh_lengths: float) -> None:
    """U = exp(−r²/(w₀²·q))/q with q = 1 + i·z/z_R, curvature and Gouy phase included.

    The border is more than ten waists away, where nothing is left at any of the distances.
    """
    waist_m, samples = 6e-6, 256
    distance_m = rayleigh_lengths * math.pi * waist_m**2 / WAVELENGTH_M
    x = positions_m(samples)
    r2 = x[:, None].square() + x[None, :].square()
    start = torch.exp(-r2 / waist_m**2).to(torch.complex128)
    field = free_space(start, PITCH_M, distance_m, WAVELENGTH_M)
    q = 1 + 1j * rayleigh_lengths
    torch.testing.assert_close(field, torch.exp(-r2 / waist_m**2 / q) / q, atol=ROUNDING, rtol=0)
    intensity = field.abs().square()
    spread = 1 + rayleigh_lengths**2
    assert float(intensity[128, 128]) == pytest.approx(1 / spread, rel=1e-8)
    variance_m2 = float((intensity * x.square()).sum() / intensity.sum())
    assert 2 * math.sqrt(variance_m2) == pytest.approx(waist_m * math.sqrt(spread), rel=1e-6)


def fresnel_integral(end: torch.Tensor) -> torch.Tensor:
    """∫₀^w exp(iπt²/2) dt, odd in w: quadrature to w = 12, beyond the asymptotic series (1e-9)."""
    step = 1e-4
    middle = step * (torch.arange(120_000, dtype=torch.float64) + 0.5)
    area = torch.polar(torch.full_like(middle, step), math.pi / 2 * middle.square())
    table = torch.cat([torch.zeros(1, dtype=torch.complex128), area.cumsum(0)])
    size = end.abs()
    node = (size / step).round().long().clamp(max=120_000)
    # The rest of less than half a step, at the node's phase.
    at_node = torch.polar(torch.ones_like(size), math.pi / 2 * (node.double() * step).square())
    near = table[node] + (size - node * step) * at_node
    w = size.clamp(min=1.0)
    phasor = torch.polar(torch.ones_like(w), math.pi / 2 * w.square())
    far = (1 + 1j) / 2 + phasor / (1j * math.pi * w) * (1 - 1j / (math.pi * w.square()))
    return torch.where(size < 11.9, near, far) * end.sign()


def test_fresnel_fringes_of_an_edge() -> None:
    """A wide slit: |F(w₂) − F(w₁)|²/2 with w = (x − edge)·√(2/(λz)).

    Three things keep the discrete field from it: the next slits of the periodic field, which are
    left out of the formula, 80 fringe widths away, and reach 1/(π·80·√2) = 0.003 of the amplitude
    each; the sampled edge; and the fringes that are finer than the grid, more than 25 fringe widths
    from the edge. Together they are up to 1.4 % of the intensity.
    """
    samples, half, distance_m = 4096, 1024, 30.0
    width_m = math.sqrt(WAVELENGTH_M * distance_m / 2)
    slit = (positions_m(samples).abs() < half * PITCH_M).to(torch.complex128)
    slit[samples // 2 - half] = 0.5  # the edges lie on these samples
    slit[samples // 2 + half] = 0.5
    field = wide_free_space(slit, distance_m)
    x = positions_m(samples)
    w_left = (x + half * PITCH_M) / width_m
    w_right = (x - half * PITCH_M) / width_m
    expected = (fresnel_integral(w_left) - fresnel_integral(w_right)).abs().square() / 2
    near = w_left.abs() < 12
    difference = field.abs().square() - expected
    assert float(difference[near].abs().max()) < 0.02
    edge = field.abs().square()[near]
    at = w_left[near]
    assert float(edge[at.abs().argmin()]) == pytest.approx(0.25, abs=0.01)
    assert float(edge.max()) == pytest.approx(1.370, abs=0.01)
    assert float(at[edge.argmax()]) == pytest.approx(1.217, abs=0.05)
    dark = (at > 1.217) & (at < 2.5)
    assert float(edge[dark].min()) == pytest.approx(0.778, abs=0.01)
    assert float(at[dark][edge[dark].argmin()]) == pytest.approx(1.872, abs=0.05)


def wide_free_space(row: torch.Tensor, distance_m: float, pitch_m: float = PITCH_M) -> torch.Tensor:
    """Free space of a field that depends on x alone, `(W,)`: one frequency along y is enough."""
    transfer = transfer_function(
        (1, len(row)), pitch_m, distance_m, WAVELENGTH_M, dtype=torch.complex128
    )
    return propagate(row[None, :], transfer)[0]


@pytest.mark.parametrize("magnification", [2, 4])
def test_point_source_magnifies(magnification: int) -> None:
    """The Fresnel scaling theorem, which `Optics` stands on, without it.

    Two Gaussian slits in the light of a point source, in true coordinates: behind them the field
    carries the sphere's phase, πx²/(λR₁), and travels R₂. On the detector it is the parallel beam's
    diffraction pattern at R₁R₂/(R₁ + R₂), M times as wide and 1/M as bright (along one axis).
    """
    samples, pitch_m = 8192, 0.25e-6
    source_m = 10.0
    distance_m = (magnification - 1) * source_m
    x = positions_m(samples, pitch_m)
    apart_m, slit_m = 60e-6, 10e-6
    slits = sum(torch.exp(-(((x - s * apart_m / 2) / slit_m) ** 2)) for s in (-1, 1))
    assert isinstance(slits, torch.Tensor)
    sphere = torch.polar(torch.ones_like(x), math.pi * x.square() / (WAVELENGTH_M * source_m))
    cone = wide_free_space(slits * sphere, distance_m, pitch_m).abs().square()
    parallel = wide_free_space(slits.to(torch.complex128), distance_m / magnification, pitch_m)
    middle = samples // 2
    reach = samples // 2 // magnification
    seen = cone[middle - reach * magnification : middle + reach * magnification : magnification]
    expected = parallel.abs().square()[middle - reach : middle + reach] / magnification
    torch.testing.assert_close(seen, expected, atol=1e-8, rtol=0)
    heavier = x > 0
    centre_m = float((x * cone)[heavier].sum() / cone[heavier].sum())
    assert 2 * centre_m == pytest.approx(magnification * apart_m, rel=0.01)
