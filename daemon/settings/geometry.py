"""The table of the optical arrangement."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from cade.frames import Beamline
from cade.geometry import DiffuserPlace, Geometry
from daemon.settings.section import Positive, Section


class GeometrySettings(Section):
    """The optical arrangement. What is not given is taken from the detector's metadata."""

    energy_ev: Positive | None = Field(None, description="photon energy [eV]")
    distance_m: Positive | None = Field(None, description="propagation distance d [m]")
    pixel_size_m: Positive | None = Field(None, description="effective detector pixel p [m]")
    source_distance_m: Annotated[float, Field(gt=0)] | None = Field(
        None, description="source to sample R1 [m]; inf or not given = parallel beam"
    )
    diffuser: DiffuserPlace = Field("upstream", description="side of the sample the diffuser is on")
    sample_distance_m: Positive | None = Field(
        None, description="sample to detector [m], only for a downstream diffuser"
    )

    @model_validator(mode="after")
    def _consistent(self) -> GeometrySettings:
        if self.diffuser == "downstream" and self.sample_distance_m is None:
            raise ValueError("diffuser = 'downstream' needs sample_distance_m as well")
        return self

    def missing(self, beamline: Beamline) -> tuple[str, ...]:
        """Names of the values that neither these settings nor the metadata give."""
        names = ("energy_ev", "distance_m", "pixel_size_m")
        return tuple(n for n in names if getattr(self, n) is None and getattr(beamline, n) is None)

    def resolve(self, beamline: Beamline) -> Geometry | None:
        """The geometry, settings before metadata; None where a needed value is missing."""
        if self.missing(beamline):
            return None
        return Geometry(
            energy_ev=self.energy_ev or beamline.energy_ev or math.nan,
            distance_m=self.distance_m or beamline.distance_m or math.nan,
            pixel_size_m=self.pixel_size_m or beamline.pixel_size_m or math.nan,
            source_distance_m=self.source_distance_m or beamline.source_distance_m or math.inf,
            diffuser=self.diffuser,
            sample_distance_m=self.sample_distance_m,
        )
