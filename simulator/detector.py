"""From the wave field to detector counts."""

from __future__ import annotations

import math

import torch

from cade.fourier import irfft2, rfft2
from simulator.optics import Optics
from simulator.wave_field import check_sampling, propagate, transfer_function

HALF_PIXELS = 2
"""Detector-plane intensity is kept at this many samples a pixel: it is blurred there already, so
that it can be sampled exactly at displaced positions (a pixel-sampled one cannot)."""


def detector_intensity(field: torch.Tensor, optics: Optics) -> torch.Tensor:
    """Intensity on the detector at two samples a pixel, `(2H, 2W)` float32, periodic.

    Free space, then the source's image, the detector PSF and the pixel's own area as exact
    multiplications in Fourier space. Sample `[2i, 2j]` is the centre of pixel `[i, j]`.
    """
    shape = (int(field.shape[-2]), int(field.shape[-1]))
    wavelength_m = optics.geometry.wavelength_m
    check_sampling(shape, optics.pitch_m, optics.effective_distance_m, wavelength_m)
    free_space = transfer_function(
        shape, optics.pitch_m, optics.effective_distance_m, wavelength_m, field.device
    )
    intensity = propagate(field, free_space).abs().square()
    fy = torch.fft.fftfreq(shape[0], 1 / optics.oversampling, device=field.device)
    fx = torch.fft.rfftfreq(shape[1], 1 / optics.oversampling, device=field.device)
    blur_y, blur_x = (
        torch.exp(-2 * (math.pi * optics.blur_sigma_px * f) ** 2) * torch.sinc(f) for f in (fy, fx)
    )
    spectrum = rfft2(intensity) * blur_y[:, None] * blur_x[None, :]
    step = optics.oversampling // HALF_PIXELS
    blurred = irfft2(spectrum, shape)
    return blurred[..., ::step, ::step]


def expose(
    intensity: torch.Tensor, mean_counts: torch.Tensor | float, generator: torch.Generator
) -> torch.Tensor:
    """Poisson counts for an intensity of mean one at `mean_counts` = N0 counts per pixel."""
    return torch.poisson(intensity.clamp(min=0) * mean_counts, generator=generator)
