"""Random fields of a given correlation length, which diffusers are made from."""

from __future__ import annotations

import math

import torch

from cade.errors import UsageError
from cade.fourier import irfft2, rfft2


def gaussian_field(
    shape: tuple[int, int], pitch_m: float, fwhm_m: float, generator: torch.Generator
) -> torch.Tensor:
    """Normal field of variance one whose autocorrelation has that FWHM, periodic, `(H, W)` float32.

    Raises:
        UsageError: the correlation length is more than twice the field.
    """
    if fwhm_m > 2 * pitch_m * min(shape):
        raise UsageError(
            f"diffuser: details of {fwhm_m * 1e6:.3g} µm do not fit into a wave field of "
            f"{pitch_m * min(shape) * 1e6:.3g} µm; use a larger frame"
        )
    white = torch.randn(shape, generator=generator, device=generator.device)
    fy = torch.fft.fftfreq(shape[0], pitch_m, device=generator.device)
    fx = torch.fft.rfftfreq(shape[1], pitch_m, device=generator.device)
    sigma_m = fwhm_m / 2.355 / math.sqrt(2)  # the field's autocorrelation is √2 wider
    low_pass = torch.exp(-2 * (math.pi * sigma_m) ** 2 * (fy[:, None] ** 2 + fx[None, :] ** 2))
    smooth = irfft2(rfft2(white) * low_pass, shape)
    return smooth / smooth.std()


def exceeded_by(share: float) -> float:
    """The value that a share of a normal field of variance one exceeds."""
    return float(math.sqrt(2) * torch.erfinv(torch.tensor(1 - 2 * share)))
