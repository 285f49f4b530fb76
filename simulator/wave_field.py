"""Scalar wave optics on a periodic grid: transmission through thin layers and free space.

Functions keep the precision of the field that they are given.
"""

from __future__ import annotations

import math

import torch

from cade.errors import UsageError
from cade.fourier import fft2, ifft2
from simulator.materials import Material


def transmit(
    field: torch.Tensor, thickness_m: torch.Tensor, material: Material, wavenumber_per_m: float
) -> torch.Tensor:
    """The field behind a thin layer: exp(−μt/2 − i·k·δ·t); `thickness_m` `(..., H, W)`."""
    exponent = torch.complex(
        -0.5 * material.mu_per_m * thickness_m,
        -wavenumber_per_m * material.delta * thickness_m,
    )
    return field * torch.exp(exponent)


def check_sampling(
    shape: tuple[int, int], pitch_m: float, distance_m: float, wavelength_m: float
) -> None:
    """Refuse a grid on which the transfer function of free space aliases.

    Raises:
        UsageError: λ·z > N·Δ², with the number of samples, and the pitch, that would do.
    """
    samples = min(shape)
    needed = math.ceil(wavelength_m * distance_m / pitch_m**2)
    if needed > samples:
        coarser_m = wavelength_m * distance_m / (samples * pitch_m)
        raise UsageError(
            f"wave field: {samples} samples of {pitch_m * 1e6:.3g} µm cannot hold the phase of "
            f"{distance_m:.3g} m of free space; use at least {needed} samples of this pitch (a "
            f"larger frame), or a pitch of at least {coarser_m * 1e6:.3g} µm over the same width "
            f"(a lower oversampling)"
        )


def transfer_function(
    shape: tuple[int, int],
    pitch_m: float,
    distance_m: float,
    wavelength_m: float,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.complex64,
) -> torch.Tensor:
    """Angular spectrum of free space in the paraxial form, exp(−iπλz·f²), `(H, W)` complex.

    The phase is computed in float64: at 1 µm sampling it reaches hundreds of rad.
    """
    fy = torch.fft.fftfreq(shape[0], pitch_m, dtype=torch.float64, device=device)
    fx = torch.fft.fftfreq(shape[1], pitch_m, dtype=torch.float64, device=device)
    phase = -math.pi * wavelength_m * distance_m * (fy[:, None] ** 2 + fx[None, :] ** 2)
    return torch.polar(torch.ones_like(phase), phase).to(dtype)


def propagate(field: torch.Tensor, transfer: torch.Tensor) -> torch.Tensor:
    """The field `(..., H, W)` after free space with the given transfer function."""
    return ifft2(fft2(field) * transfer)


def free_space(
    field: torch.Tensor, pitch_m: float, distance_m: float, wavelength_m: float
) -> torch.Tensor:
    """The field `(..., H, W)` after a distance of free space, in the precision of the field.

    Raises:
        UsageError: the grid cannot hold it.
    """
    shape = (int(field.shape[-2]), int(field.shape[-1]))
    check_sampling(shape, pitch_m, distance_m, wavelength_m)
    transfer = transfer_function(
        shape, pitch_m, distance_m, wavelength_m, field.device, field.dtype
    )
    return propagate(field, transfer)
