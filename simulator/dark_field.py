"""What a microstructure does to a speckle pattern, in the mean over all such structures."""

from __future__ import annotations

import torch

from cade.fourier import irfft2, rfft2
from simulator.detector import HALF_PIXELS
from simulator.microstructure import Microstructure
from simulator.optics import Optics

LEVELS = 9
"""Between which the strength of scatter is interpolated."""


def scattered(
    intensity: torch.Tensor, strength: torch.Tensor, structure: Microstructure, optics: Optics
) -> torch.Tensor:
    """A reference pattern after scatter that differs from place to place; counts are conserved.

    Args:
        intensity: periodic pattern `(2H, 2W)` at two samples a pixel.
        strength: variance a of the phase at the same places of the sample, `(2H, 2W)`.
        structure: what scatters.
        optics: of the whole.
    """
    largest = float(strength.max())
    if largest == 0:
        return intensity
    shape = (intensity.shape[-2], intensity.shape[-1])
    decay = structure.decay(_frequencies_px(shape), optics)
    place = strength.to(intensity.dtype) / largest * (LEVELS - 1)
    total = torch.zeros_like(intensity)
    for level in range(LEVELS):  # light spreads from where it was scattered
        share = (1 - (place - level).abs()).clamp(min=0)
        kept = torch.exp(-largest * level / (LEVELS - 1) * decay)
        total += irfft2(rfft2(share * intensity) * kept, shape)
    return total


def expected_dark_field(
    intensity: torch.Tensor, strength: torch.Tensor, structure: Microstructure, optics: Optics
) -> torch.Tensor:
    """Regression coefficient of the scattered pattern's contrast on that of the reference.

    With the pattern's power S(f) and the share G(f) of a component that scatter leaves, that is
    Σ S·G / Σ S over all f but 0.

    Args:
        intensity: periodic pattern `(2H, 2W)` at two samples a pixel.
        strength: variance a of the phase, of any shape.
        structure: what scatters.
        optics: of the whole.
    """
    shape = (intensity.shape[-2], intensity.shape[-1])
    power = rfft2(intensity.double() - intensity.double().mean()).abs().square()
    power[:, 1 : (shape[1] + 1) // 2] *= 2  # the other half of the spectrum
    decay = structure.decay(_frequencies_px(shape), optics).double()
    levels = torch.linspace(0, max(float(strength.max()), 1e-9), 65, dtype=torch.float64)
    table = torch.stack([(power * torch.exp(-a * decay)).sum() for a in levels]) / power.sum()
    place = strength.double() / levels[-1] * (len(levels) - 1)
    below = place.floor().clamp(0, len(levels) - 2).long()
    return torch.lerp(table[below], table[below + 1], place - below)


def _frequencies_px(shape: tuple[int, int]) -> torch.Tensor:
    """|f| per pixel of the half spectrum of a pattern at two samples a pixel."""
    fy = torch.fft.fftfreq(shape[0], 1 / HALF_PIXELS)
    fx = torch.fft.rfftfreq(shape[1], 1 / HALF_PIXELS)
    return torch.hypot(fy[:, None], fx[None, :])
