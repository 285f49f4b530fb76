"""Reference patterns and what they look like: speckle size and visibility."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cade.errors import CadeError
from cade.fourier import irfft2, rfft2
from simulator.detector import HALF_PIXELS, detector_intensity
from simulator.diffuser import Diffuser, Sandpaper, diffuser_field
from simulator.optics import Optics

GRAINS_M = (8e-6, 120e-6)
"""Grain sizes that give speckles of 25 to 90 µm on the detector (2.1 to 7.6 px), within the paper's
22 to 110 µm."""
HEIGHTS = (0.7, 1.2)
"""Grain height over size; with ten layers the visibility is then 20 to 55 %, the paper's ≥ 20 %."""
MIN_VISIBILITY = 0.02
"""Below, a pattern has no speckle that a tracker could use."""


def reference_intensity(
    diffuser: Diffuser, optics: Optics, shape: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """One noise-free pattern of mean one, `(2H, 2W)` for `shape` = `(H, W)` pixels, periodic."""
    intensity = transmitted_intensity(diffuser, optics, shape, generator)
    return intensity / intensity.mean()


def transmitted_intensity(
    diffuser: Diffuser, optics: Optics, shape: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """What the diffuser leaves of a beam of intensity one, `(2H, 2W)`, periodic.

    Of a spectrum, the intensities of all energies behind the same diffuser add up.
    """
    fine = (shape[0] * optics.oversampling, shape[1] * optics.oversampling)
    if optics.spectrum is None:
        return detector_intensity(diffuser_field(diffuser, optics, fine, generator), optics)
    start = generator.get_state()
    total = torch.zeros(())
    for line, share in optics.lines:
        generator.set_state(start)
        field = diffuser_field(diffuser, line, fine, generator)
        total = total.to(field.device) + share * detector_intensity(field, line)
    return total


def reference_pattern(
    index: int,
    shape: tuple[int, int],
    seed: int,
    optics: Optics | None = None,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Pattern `index` of those that `seed` gives, `(2H, 2W)` on the device.

    It depends on nothing else, but on a GPU it is another one than on a CPU. Grain sizes are spread
    over the paper's range.
    """
    generator = torch.Generator(device).manual_seed(seed * 1_000_003 + index)
    position, lift = torch.rand(2, generator=generator, device=device).tolist()
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


def check_speckle(speckle: Speckle, what: str) -> None:
    """Refuse a pattern without usable speckle.

    Args:
        speckle: as measured.
        what: the pattern, for the message.

    Raises:
        CadeError: its visibility is below 2 %, or its structure wider than the image.
    """
    if not MIN_VISIBILITY <= speckle.visibility < float("inf"):
        raise CadeError(
            f"{what}: no usable speckle, the visibility is {100 * speckle.visibility:.2g} % and "
            f"must be at least {100 * MIN_VISIBILITY:g} %; use a rougher diffuser, more layers of "
            f"it, or a longer distance to the detector"
        )
    if not speckle.fwhm_px < float("inf"):
        raise CadeError(
            f"{what}: no usable speckle, the autocorrelation nowhere falls to one half; the "
            f"structure is wider than the image: use a finer diffuser or a larger frame"
        )


def _half_width(line: torch.Tensor) -> float:
    """Where a correlation line first falls to one half, linear between samples."""
    below = torch.nonzero(line < 0.5)
    if not len(below):
        return float("inf")
    k = int(below[0])
    return float(k - 1 + (line[k - 1] - 0.5) / (line[k - 1] - line[k]))
