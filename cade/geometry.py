"""The optical arrangement, and displacement to refraction angle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cade.displacement import Array, Displacement, Refraction
from cade.errors import UsageError

HC_EV_M = 1.239841984332e-6
"""Planck constant times speed of light in eV·m (CODATA 2018)."""

DiffuserPlace = Literal["upstream", "downstream"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Distances, energy and pixel of a speckle experiment.

    Args:
        energy_ev: photon energy in eV.
        distance_m: propagation distance d in m that turns an angle into a displacement:
            sample to detector with the diffuser upstream of the sample, diffuser to detector
            with the diffuser downstream.
        pixel_size_m: effective pixel p in the detector plane (camera pixel over lens
            magnification) in m.
        source_distance_m: R1, source to sample in m; infinite for a parallel beam.
        diffuser: which side of the sample the diffuser is on.
        sample_distance_m: sample to detector in m. Only a downstream diffuser needs it (there d
            is another distance); otherwise it is d.

    Raises:
        UsageError: a value that no experiment can have.
    """

    energy_ev: float
    distance_m: float
    pixel_size_m: float
    source_distance_m: float = math.inf
    diffuser: DiffuserPlace = "upstream"
    sample_distance_m: float | None = None

    def __post_init__(self) -> None:
        for name in ("energy_ev", "distance_m", "pixel_size_m"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"geometry: {name} must be a positive number, not {value!r}")
        if not self.source_distance_m > 0:
            raise UsageError(
                f"geometry: source_distance_m must be positive (inf for a parallel beam), "
                f"not {self.source_distance_m!r}"
            )
        if self.diffuser not in ("upstream", "downstream"):
            raise UsageError(
                f"geometry: diffuser must be 'upstream' or 'downstream', not {self.diffuser!r}"
            )
        self._check_sample_distance()

    def _check_sample_distance(self) -> None:
        sample = self.sample_distance_m
        if sample is None:
            return
        if not (math.isfinite(sample) and sample > 0):
            raise UsageError(f"geometry: sample_distance_m must be positive, not {sample!r}")
        if self.diffuser == "downstream" and sample < self.distance_m:
            raise UsageError(
                f"geometry: the diffuser is downstream of the sample, so the sample ({sample} m "
                f"from the detector) cannot be nearer than the diffuser ({self.distance_m} m)"
            )

    @property
    def wavelength_m(self) -> float:
        """λ = hc/E in m."""
        return HC_EV_M / self.energy_ev

    @property
    def wavenumber_per_m(self) -> float:
        """2π/λ in rad/m."""
        return 2 * math.pi / self.wavelength_m

    @property
    def magnification(self) -> float:
        """M = (R1 + R2)/R1 of the sample on the detector, R2 = sample to detector."""
        sample_distance_m = self.sample_distance_m or self.distance_m
        return 1.0 + sample_distance_m / self.source_distance_m

    @property
    def sample_pixel_m(self) -> float:
        """Pitch p/M of the detector pixels in the sample plane, in m."""
        return self.pixel_size_m / self.magnification

    @property
    def pixels_per_rad(self) -> float:
        """How far an angle moves its ray between sample and detector, R2/p in detector pixels."""
        return (self.sample_distance_m or self.distance_m) / self.pixel_size_m


def refraction_angle(displacement: Displacement[Array], geometry: Geometry) -> Refraction[Array]:
    """Refraction angle α = u·p/d in rad (paper eq. 7), `(..., H, W)` as the displacement."""
    factor = geometry.pixel_size_m / geometry.distance_m
    return Refraction(displacement.ux_px * factor, displacement.uy_px * factor)
