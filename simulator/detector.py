"""From the wave field to detector counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cade.errors import UsageError
from cade.fourier import irfft2, rfft2
from simulator.optics import Optics
from simulator.seeds import Purpose, seeded_generator
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


Counts = NDArray[np.unsignedinteger[Any]]
"""A frame as a detector writes it, `(H, W)` uint16 or uint32."""


@dataclass(frozen=True, slots=True)
class Detector:
    """How photons become numbers. The default counts photons, up to 65535.

    A pixel reads gain·photons + dark_level + noise, rounded, and clipped at zero and at saturation.
    Its point spread function belongs to `Optics`, because it acts on the intensity.

    Args:
        gain: ADU (numbers) per photon.
        dark_level: ADU without light.
        read_noise: standard deviation of every pixel's own Gaussian noise in ADU.
        saturation: largest number; that of `dtype` if None.
        dtype: of the frames.
        bad_pixels: how many; half of them (and the odd one) are dead and read 0, the others are
            hot and read `saturation`, in all frames.
        bad_seed: of where they are.

    Raises:
        UsageError: a value that no detector can have.
    """

    gain: float = 1.0
    dark_level: float = 0.0
    read_noise: float = 0.0
    saturation: int | None = None
    dtype: Literal["uint16", "uint32"] = "uint16"
    bad_pixels: int = 0
    bad_seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.gain) and self.gain > 0):
            raise UsageError(f"detector: the gain must be a positive number, not {self.gain!r}")
        for name in ("dark_level", "read_noise", "bad_pixels", "bad_seed"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"detector: {name} must be zero or more, not {value!r}")
        if self.dtype not in ("uint16", "uint32"):
            raise UsageError(f"detector: dtype must be uint16 or uint32, not {self.dtype!r}")
        largest = int(np.iinfo(self.dtype).max)
        if not self.dark_level < self.white <= largest:
            raise UsageError(
                f"detector: saturation must be above the dark level ({self.dark_level:g}) and at "
                f"most {largest} ({self.dtype}), not {self.white}"
            )

    @property
    def white(self) -> int:
        """The largest number that a pixel reads."""
        return int(np.iinfo(self.dtype).max) if self.saturation is None else self.saturation

    def check_exposure(self, counts: float, shape: tuple[int, int]) -> None:
        """Refuse an exposure that leaves nothing to see.

        Raises:
            UsageError: no light, the mean is saturated, or there are more bad pixels than pixels.
        """
        if not (math.isfinite(counts) and counts > 0):
            raise UsageError(f"detector: mean counts must be a positive number, not {counts!r}")
        mean = self.gain * counts + self.dark_level
        if mean >= self.white:
            raise UsageError(
                f"detector: a mean of {counts:g} photons reads {mean:g}, at or above saturation "
                f"({self.white}); use fewer photons, a smaller gain, or uint32"
            )
        if self.bad_pixels >= shape[0] * shape[1]:
            raise UsageError(
                f"detector: {self.bad_pixels} bad pixels are all of a frame of "
                f"{shape[0]} × {shape[1]}"
            )

    def bad_places(self, shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Dead and hot pixels of a frame `(H, W)`, as indices of the flattened frame."""
        generator = seeded_generator(self.bad_seed, Purpose.BAD_PIXELS)
        order = torch.randperm(shape[0] * shape[1], generator=generator).numpy()
        dead = (self.bad_pixels + 1) // 2
        return order[:dead], order[dead : self.bad_pixels]


def record(
    detector: Detector, intensity: torch.Tensor, counts: float, generator: torch.Generator
) -> Counts:
    """The frame `(H, W)` that a detector makes of a noise-free intensity.

    Args:
        detector: what records it.
        intensity: `(H, W)`, one where `counts` photons are expected.
        counts: N0.
        generator: of the Poisson noise and the read noise.
    """
    photons = expose(intensity, counts, generator).double()
    signal = detector.gain * photons + detector.dark_level
    if detector.read_noise > 0:
        noise = torch.randn(signal.shape, generator=generator, dtype=signal.dtype)
        signal += detector.read_noise * noise
    frame: Counts = signal.round_().clamp_(0, detector.white).numpy().astype(detector.dtype)
    if detector.bad_pixels:
        dead, hot = detector.bad_places((frame.shape[0], frame.shape[1]))
        frame.flat[dead] = 0
        frame.flat[hot] = detector.white
    return frame
