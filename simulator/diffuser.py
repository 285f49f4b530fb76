"""Sandpaper: layers of rough alumina grains on cellulose (paper section II-A)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cade.fourier import irfft2, rfft2
from simulator.materials import material
from simulator.optics import Optics
from simulator.wave_field import check_sampling, propagate, transfer_function, transmit

PAPER_THICKNESS_M = 200e-6
"""Cellulose carrier under each layer."""


@dataclass(frozen=True, slots=True)
class Sandpaper:
    """Layers of grains: correlation length `grain_m` (FWHM), `height` grain height over size."""

    grain_m: float
    height: float = 0.5
    coverage: float = 0.5
    layers: int = 10


def grain_thickness(
    paper: Sandpaper, shape: tuple[int, int], pitch_m: float, generator: torch.Generator
) -> torch.Tensor:
    """Thickness in m of one layer of grains, periodic, `(H, W)` float32.

    A Gaussian random field, cut so that a fraction `coverage` of the area carries grains.
    """
    white = torch.randn(shape, generator=generator, device=generator.device)
    fy = torch.fft.fftfreq(shape[0], pitch_m, device=generator.device)
    fx = torch.fft.rfftfreq(shape[1], pitch_m, device=generator.device)
    sigma_m = paper.grain_m / 2.355 / math.sqrt(2)  # the field's autocorrelation is √2 wider
    low_pass = torch.exp(-2 * (math.pi * sigma_m) ** 2 * (fy[:, None] ** 2 + fx[None, :] ** 2))
    smooth = irfft2(rfft2(white) * low_pass, shape)
    smooth = smooth / smooth.std()
    threshold = math.sqrt(2) * torch.erfinv(torch.tensor(1 - 2 * paper.coverage))
    return paper.height * paper.grain_m * (smooth - threshold.to(smooth)).clamp(min=0)


def diffuser_field(
    paper: Sandpaper, optics: Optics, shape: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """Wave field right behind the sandpaper, `(H, W)` complex64 at the optics' pitch.

    Multi-slice: every layer is thin, the field propagates through the carrier between layers.
    """
    geometry = optics.geometry
    check_sampling(shape, optics.pitch_m, PAPER_THICKNESS_M, geometry.wavelength_m)
    alumina = material("alumina", optics.energy_ev)
    cellulose = material("cellulose", optics.energy_ev)
    between = transfer_function(
        shape, optics.pitch_m, PAPER_THICKNESS_M, geometry.wavelength_m, generator.device
    )
    absorbed = math.exp(-0.5 * cellulose.mu_per_m * PAPER_THICKNESS_M)
    field = torch.ones(shape, dtype=torch.complex64, device=generator.device)
    for _ in range(paper.layers):
        thickness_m = grain_thickness(paper, shape, optics.pitch_m, generator)
        field = transmit(field, thickness_m, alumina, geometry.wavenumber_per_m)
        field = propagate(field, between) * absorbed
    return field
