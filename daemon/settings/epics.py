"""The table of process variables."""

from __future__ import annotations

from pydantic import Field, model_validator

from daemon.settings.section import Positive, Section


class EpicsSettings(Section):
    """Process variables that drive the daemon; empty names are not used."""

    acquire_pv: str = Field("", description="1 starts a series, 0 ends it")
    role_pv: str = Field("", description="role of the frames: a name or 0 … 3 in the order of Role")
    connect_s: Positive = Field(10.0, description="a PV silent this long at start is reported")
    settle_s: float = Field(
        1.0,
        ge=0,
        description="a series ends this long after acquire_pv fell, and a frame may be this much "
        "earlier than its rise: Channel Access is slower than a detector",
    )

    @model_validator(mode="after")
    def _different(self) -> EpicsSettings:
        if self.acquire_pv and self.acquire_pv == self.role_pv:
            raise ValueError("acquire_pv and role_pv name the same PV")
        return self
