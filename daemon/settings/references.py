"""The table of the reference store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from daemon.settings.section import Positive, Section

Doubt = Literal["count", "warn", "refuse"]


class ReferenceSettings(Section):
    """The store of references, which of them serves a sample, and samples that wait for one."""

    path: Path = Field(Path("references"), description="folder of the reference store")
    choice: Literal["before", "nearest", "interpolated", "pinned"] = Field(
        "before",
        description="the latest before the sample (or else the first after it), the nearest in "
        "time, interpolated between before and after, or the one that pinned names",
    )
    pinned: str = Field("", description="id of the reference for choice = 'pinned'")
    energy_tolerance: float = Field(1e-3, ge=0, description="relative difference allowed")
    exposure_tolerance: float = Field(0.05, ge=0, description="relative difference allowed")
    distance_tolerance: float = Field(0.01, ge=0, description="relative difference allowed")
    diffuser_tolerance_m: float = Field(
        1e-6, ge=0, description="how far the diffuser may have been moved [m]"
    )
    max_age_s: Positive | None = Field(
        None, description="longest time between a sample and its reference [s]; any if not given"
    )
    when_old: Doubt = Field("refuse", description="what becomes of samples beyond max_age_s")
    max_drift_px: Positive | None = Field(
        None,
        description="how far the whole pattern may have moved since the reference [px], measured "
        "on every sample; not measured if not given",
    )
    when_drifted: Doubt = Field("warn", description="what becomes of samples beyond max_drift_px")
    remove_drift: bool = Field(
        False, description="subtract the movement of the whole pattern from the displacement"
    )
    wait_s: float = Field(
        300.0,
        ge=0,
        description="samples without a valid reference wait for one until this long after the "
        "last frame of their series; 0 rejects them at once",
    )
    wait_memory_bytes: int = Field(
        256 << 20, ge=0, description="memory for samples that wait; more of them go to the disk"
    )
    wait_spool_bytes: int = Field(
        8 << 30, ge=0, description="disk space for samples that wait; more of them are rejected"
    )
    spool: Path | None = Field(
        None, description="folder of samples that wait; that of the store if not given"
    )

    @model_validator(mode="after")
    def _pinned(self) -> ReferenceSettings:
        if (self.choice == "pinned") != bool(self.pinned):
            raise ValueError("choice = 'pinned' and the id in pinned need each other")
        return self
