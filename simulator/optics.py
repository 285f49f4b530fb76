"""The optical arrangement that is simulated, and how finely."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cade.errors import UsageError
from cade.geometry import Geometry
from simulator.materials import REFERENCE_ENERGY_EV
from simulator.spectrum import Spectrum


@dataclass(frozen=True, slots=True)
class Optics:
    """Cone or parallel beam with the diffuser next to the sample (paper section II-A).

    Lengths in m; `source_distance_m` is infinite for a parallel beam. The wave field is sampled
    `oversampling` times per detector pixel, in the diffuser plane; `source_fwhm_m` is the size of
    the focal spot (without effect in a parallel beam); `psf_sigma_px` the detector's. With a
    `spectrum`, `energy_ev` is the energy that phase and angles are stated for.

    Raises:
        UsageError: a value that no experiment can have.
    """

    energy_ev: float = REFERENCE_ENERGY_EV
    source_distance_m: float = 1.0
    distance_m: float = 2.0
    pixel_size_m: float = 12e-6
    source_fwhm_m: float = 10e-6
    psf_sigma_px: float = 1 / 2.355
    oversampling: int = 4
    spectrum: Spectrum | None = None

    def __post_init__(self) -> None:
        if self.oversampling < 2 or self.oversampling % 2:
            raise UsageError(
                f"optics: oversampling must be even and at least 2, not {self.oversampling}"
            )
        for name in ("source_fwhm_m", "psf_sigma_px"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"optics: {name} must not be negative or infinite: {value!r}")
        _ = self.geometry  # unphysical distances and energies are refused there
        if self.spectrum is not None:
            shares = self.spectrum.shares
            if not shares[0][0] <= self.energy_ev <= shares[-1][0]:
                raise UsageError(
                    f"optics: energy_ev = {self.energy_ev:g} lies outside the spectrum, from "
                    f"{shares[0][0]:g} to {shares[-1][0]:g} eV; its mean is "
                    f"{self.spectrum.mean_ev:g}"
                )

    @property
    def geometry(self) -> Geometry:
        """The same arrangement as the daemon and the trackers know it."""
        return Geometry(
            energy_ev=self.energy_ev,
            distance_m=self.distance_m,
            pixel_size_m=self.pixel_size_m,
            source_distance_m=self.source_distance_m,
        )

    @property
    def lines(self) -> tuple[tuple[Optics, float], ...]:
        """The arrangement at every single energy, with that energy's share of the intensity."""
        if self.spectrum is None:
            return ((self, 1.0),)
        return tuple(
            (replace(self, energy_ev=energy_ev, spectrum=None), share)
            for energy_ev, share in self.spectrum.shares
        )

    @property
    def pitch_m(self) -> float:
        """Sampling pitch of the wave field in the diffuser plane."""
        return self.geometry.sample_pixel_m / self.oversampling

    @property
    def effective_distance_m(self) -> float:
        """z_eff = R1·R2/(R1 + R2) of the equivalent parallel beam (Fresnel scaling theorem)."""
        return self.distance_m / self.geometry.magnification

    @property
    def blur_sigma_px(self) -> float:
        """Source image and detector PSF together, in detector pixels."""
        source_px = self.source_fwhm_m / 2.355 * (self.geometry.magnification - 1)
        return math.hypot(source_px / self.pixel_size_m, self.psf_sigma_px)
