"""Structure too fine for the detector: it scatters by small angles and makes the dark field."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cade.errors import UsageError
from simulator.materials import Material
from simulator.optics import Optics
from simulator.phantom import Phantom
from simulator.random_field import gaussian_field
from simulator.sampling import check_detail
from simulator.seeds import Purpose, seeded_generator

FWHM = 2 * math.sqrt(math.log(2))
"""Of exp(−r²/ℓ²), over ℓ."""
SIGMAS = 4
"""So many rms angles must be within λ/2 per sample of the wave field. At this limit the contrast
is lower than by the closed form by 1 to 2 %, because the diffuser's own angles come on top."""
MOST_VARIANCE = math.sqrt(math.pi) / 4
"""Largest `variance_m` over ℓ: half pores and half matter, correlated as exp(−r²/ℓ²) also along
the beam, have ¼·√π·ℓ·t."""


@dataclass(frozen=True, slots=True)
class Microstructure:
    """Random structure within a phantom, of the phantom's material.

    It adds to the phantom's thickness t a Gaussian random one of mean zero, of the variance
    `variance_m`·t (the more grains lie along the beam, the larger) and of the autocorrelation
    exp(−r²/ℓ²) with ℓ = `correlation_m`. `seed` says which.

    In the mean over such structures the component f (per pixel) of a speckle pattern loses the
    factor exp(−a·(1 − exp(−Δ²/ℓ²))), with a = (k·δ)²·variance and Δ = λ·f·d/p (Yashiro et al.,
    Opt. Express 18, 16890, 2010). For Δ ≪ ℓ that is a Gaussian blur, exp(−2π²·(σ·d/p)²·f²), by
    scatter of the rms angle σ = √2·δ·√variance/ℓ along each axis.
    """

    phantom: Phantom
    variance_m: float
    correlation_m: float
    seed: int = 0

    @property
    def material(self) -> Material:
        """The phantom's."""
        return self.phantom.material

    def rms_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Standard deviation of the thickness in m."""
        return (self.variance_m * self.phantom.thickness_m(x_m, y_m).clamp(min=0)).sqrt()

    def strength(self, optics: Optics, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Variance a of the phase in rad²."""
        return (optics.geometry.wavenumber_per_m * self.material.delta) ** 2 * self.rms_m(
            x_m, y_m
        ).square()

    def random_thickness_m(
        self, x_m: torch.Tensor, y_m: torch.Tensor, pitch_m: float
    ) -> torch.Tensor:
        """What it adds to the thickness at the `(1, W)` and `(H, 1)` places of a periodic grid."""
        shape = (y_m.shape[0], x_m.shape[1])
        generator = seeded_generator(self.seed, Purpose.MICROSTRUCTURE)
        grains = gaussian_field(shape, pitch_m, FWHM * self.correlation_m, generator)
        return self.rms_m(x_m, y_m) * grains

    def decay(self, frequency_px: torch.Tensor, optics: Optics) -> torch.Tensor:
        """1 − exp(−Δ²/ℓ²) of the frequencies per pixel: times a, what a pattern loses."""
        per_px_m = optics.geometry.wavelength_m * optics.distance_m / optics.pixel_size_m
        return -torch.expm1(-((per_px_m / self.correlation_m * frequency_px) ** 2))


def scattering(
    phantom: Phantom,
    optics: Optics,
    thickest_m: float,
    angle_rad: float,
    correlation_m: float | None = None,
    seed: int = 0,
) -> Microstructure:
    """The microstructure that scatters by an rms angle where the phantom is thickest.

    Its correlation length is half a pixel (in the sample plane) if None.

    Raises:
        UsageError: the wave field's sampling cannot hold it, the detector resolves it, or no
            mixture of matter and pores scatters so much.
    """
    pixel_m = optics.geometry.sample_pixel_m
    length_m = pixel_m / 2 if correlation_m is None else correlation_m
    if not 0 < length_m <= pixel_m * (1 + 1e-9):
        raise UsageError(
            f"scatter: grains of {length_m * 1e6:.4g} µm are not finer than a pixel in the sample "
            f"plane, {pixel_m * 1e6:.4g} µm: the detector sees them"
        )
    check_detail(FWHM * length_m, optics, "scatter: grains with a width")
    rms_m = angle_rad * length_m / (math.sqrt(2) * phantom.material.delta)
    possible_m = math.sqrt(MOST_VARIANCE * length_m * thickest_m)
    held_rad = optics.geometry.wavelength_m / (2 * optics.pitch_m) / SIGMAS
    possible_rad = min(held_rad, angle_rad * possible_m / rms_m if rms_m else held_rad)
    if not 0 < angle_rad <= possible_rad:
        raise UsageError(
            f"scatter: {angle_rad * 1e6:.4g} µrad is not above zero and at most "
            f"{possible_rad * 1e6:.3g} µrad, what {thickest_m * 1e6:.0f} µm of "
            f"{phantom.material.name} in grains of {length_m * 1e6:.3g} µm can do and "
            f"{optics.oversampling} samples a pixel can hold"
        )
    return Microstructure(phantom, rms_m**2 / thickest_m, length_m, seed)
