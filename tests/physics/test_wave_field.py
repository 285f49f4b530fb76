"""Free space and thin layers against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from cade.errors import UsageError
from simulator.materials import Material, material
from simulator.wave_field import (
    check_sampling,
    free_space,
    propagate,
    transfer_function,
    transmit,
)

WAVELENGTH_M = 4.13e-11
PITCH_M = 1e-6


def test_thin_layer_delays_and_absorbs() -> None:
    alumina = material("alumina")
    wavenumber_per_m = 2 * math.pi / WAVELENGTH_M
    thickness_m = torch.tensor([[0.0, 2e-6, 500e-6]])
    field = transmit(torch.ones(1, 3, dtype=torch.complex64), thickness_m, alumina, 1.5e11)
    assert field.abs().square()[0].tolist() == pytest.approx(
        [1, math.exp(-306.17 * 2e-6), math.exp(-306.17 * 500e-6)], rel=1e-5
    )
    field = transmit(field[:, :2] / field[:, :2].abs(), thickness_m[:, :2], alumina, 0)
    thin = transmit(
        torch.ones(1, 1, dtype=torch.complex64), torch.tensor([[2e-6]]), alumina, wavenumber_per_m
    )
    assert float(thin.angle()) == pytest.approx(-wavenumber_per_m * alumina.delta * 2e-6, abs=1e-5)


def test_free_space_conserves_energy() -> None:
    generator = torch.Generator().manual_seed(0)
    field = torch.randn(2, 64, 48, dtype=torch.complex64, generator=generator)
    behind = propagate(field, transfer_function((64, 48), PITCH_M, 0.5, WAVELENGTH_M))
    before, after = (f.abs().square().sum(dim=(-2, -1)) for f in (field, behind))
    assert after.tolist() == pytest.approx(before.tolist(), rel=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_prism_shifts_a_field_by_angle_times_distance(axis: int) -> None:
    # 42 turns over the grid: α = 42·λ/(N·Δ) moves the field by exactly three samples.
    samples, turns, shift = 128, 42, 3
    distance_m = shift * PITCH_M * samples * PITCH_M / (turns * WAVELENGTH_M)
    generator = torch.Generator().manual_seed(1)
    rough = torch.randn(samples, samples, dtype=torch.complex64, generator=generator)
    low = torch.fft.fftfreq(samples).abs() < 0.15  # the prism may not push it over the border
    field = torch.fft.ifft2(torch.fft.fft2(rough) * (low[:, None] & low[None, :]))
    phase = 2 * math.pi * turns * torch.arange(samples, dtype=torch.float64) / samples
    prism = torch.polar(torch.ones_like(phase), phase).to(torch.complex64)
    prism = prism[:, None] if axis == 0 else prism[None, :]
    transfer = transfer_function((samples, samples), PITCH_M, distance_m, WAVELENGTH_M)
    without, behind = (propagate(f, transfer).abs() for f in (field, field * prism))
    torch.testing.assert_close(behind, without.roll(shift, dims=axis), atol=1e-4, rtol=0)


def test_sampling_guard_on_both_sides() -> None:
    distance_m = 99.5 * PITCH_M**2 / WAVELENGTH_M
    check_sampling((100, 300), PITCH_M, distance_m, WAVELENGTH_M)
    with pytest.raises(UsageError, match=r"at least 100 samples.*pitch of at least 1.01 µm"):
        check_sampling((300, 99), PITCH_M, distance_m, WAVELENGTH_M)


def test_transfer_function_is_accurate_at_large_phases() -> None:
    transfer = transfer_function((512, 512), PITCH_M, 10.0, WAVELENGTH_M)
    phase = -math.pi * WAVELENGTH_M * 10.0 * (255 / 512e-6) ** 2
    assert abs(phase) > 300
    expected = complex(math.cos(phase), math.sin(phase))
    assert complex(transfer[0, 255]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_free_space_keeps_the_precision_of_the_field(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    field = torch.randn(48, 64, dtype=dtype, generator=generator)
    behind = free_space(field, PITCH_M, 0.5, WAVELENGTH_M)
    assert behind.dtype == dtype
    back = propagate(behind, transfer_function((48, 64), PITCH_M, -0.5, WAVELENGTH_M, dtype=dtype))
    torch.testing.assert_close(back, field, atol=20 * torch.finfo(dtype).eps, rtol=0)
    with pytest.raises(UsageError, match="cannot hold the phase of 5 m"):
        free_space(field, PITCH_M, 5.0, WAVELENGTH_M)


def test_material_without_absorption_keeps_the_intensity() -> None:
    glass = Material("glass", "", 1.0, 1e-6, 0.0)
    thickness_m = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) * 1e-3
    field = transmit(torch.ones(8, 8, dtype=torch.complex64), thickness_m, glass, 1.5e11)
    torch.testing.assert_close(field.abs(), torch.ones(8, 8))
