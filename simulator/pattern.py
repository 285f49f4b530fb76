"""Reference patterns and what they look like: speckle size and visibility."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cade.fourier import irfft2, rfft2
from simulator.detector import HALF_PIXELS, detector_intensity
from simulator.diffuser import Sandpaper, diffuser_field
from simulator.optics import Optics

GRAINS_M = (8e-6, 120e-6)
"""Grain sizes that give speckles of 25 to 90 µm on the detector (2.1 to 7.6 px), within the paper's
22 to 110 µm."""
HEIGHTS = (0.7, 1.2)
"""Grain height over size; with ten layers the visibility is then 20 to 55 %, the paper's ≥ 20 %."""


def reference_intensity(
    paper: Sandpaper, optics: Optics, shape: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """One noise-free pattern of mean one, `(2H, 2W)` for `shape` = `(H, W)` pixels, periodic."""
    fine = (shape[0] * optics.oversampling, shape[1] * optics.oversampling)
    intensity = detector_intensity(diffuser_field(paper, optics, fine, generator), optics)
    return intensity / intensity.mean()


def reference_pattern(
    index: int, shape: tuple[int, int], seed: int, optics: Optics | None = None
) -> torch.Tensor:
    """Pattern `index` of those that `seed` gives, `(2H, 2W)`; it depends on nothing else.

    Grain sizes are spread over the paper's range.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    position, lift = torch.rand(2, generator=generator).tolist()
    paper = Sandpaper(
        grain_m=GRAINS_M[0] * (GRAINS_M[1] / GRAINS_M[0]) ** position,
        height=HEIGHTS[0] + (HEIGHTS[1] - HEIGHTS[0]) * lift,
    )
    return reference_intensity(paper, optics or Optics(), shape, generator)


def reference_patterns(
    count: int, shape: tuple[int, int], seed: int, optics: Optics | None = None
) -> torch.Tensor:
    """The first `count` patterns that `seed` gives, `(count, 2H, 2W)`."""
    return torch.stack([reference_pattern(i, shape, seed, optics) for i in range(count)])


def at_pixels(intensity: torch.Tensor) -> torch.Tensor:
    """The pattern as the detector's pixels see it, `(..., H, W)`."""
    return intensity[..., ::HALF_PIXELS, ::HALF_PIXELS]


@dataclass(frozen=True, slots=True)
class Speckle:
    """`fwhm_px`: full width at half maximum of the autocorrelation; `visibility`: std over mean."""

    fwhm_px: float
    visibility: float


def measure_speckle(image: torch.Tensor) -> Speckle:
    """Speckle size and visibility (paper section II-A) of an image `(H, W)`."""
    image = image.double()
    mean = image.mean()
    spectrum = rfft2(image - mean).abs().square()
    correlation = irfft2(spectrum, (image.shape[0], image.shape[1]))
    correlation = correlation / correlation[0, 0]
    widths = [_half_width(line) for line in (correlation[0], correlation[:, 0])]
    return Speckle(sum(widths), float(image.std() / mean))


def _half_width(line: torch.Tensor) -> float:
    """Where a correlation line first falls to one half, linear between samples."""
    below = torch.nonzero(line < 0.5)
    if not len(below):
        return float("inf")
    k = int(below[0])
    return float(k - 1 + (line[k - 1] - 0.5) / (line[k - 1] - line[k]))
