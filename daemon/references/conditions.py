"""Under which conditions frames are taken: what a reference and a sample must have in common."""

from __future__ import annotations

from dataclasses import dataclass

from cade.frames import Beamline
from daemon.settings import GeometrySettings


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is known, in SI units; None, or an empty name, where it is not."""

    detector: str = ""
    energy_ev: float | None = None
    exposure_s: float | None = None
    distance_m: float | None = None
    source_distance_m: float | None = None
    diffuser_m: float | None = None


def known_conditions(geometry: GeometrySettings, beamline: Beamline) -> Conditions:
    """The conditions of a series: settings before what the detector says."""
    return Conditions(
        detector=beamline.detector or "",
        energy_ev=geometry.energy_ev or beamline.energy_ev,
        exposure_s=beamline.exposure_s,
        distance_m=geometry.distance_m or beamline.distance_m,
        source_distance_m=geometry.source_distance_m or beamline.source_distance_m,
        diffuser_m=beamline.diffuser_m,
    )
