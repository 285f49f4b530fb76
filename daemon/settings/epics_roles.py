"""The tables that state a role by the values of process variables."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from cade.frames import Role
from daemon.settings.section import Section

PvName = Annotated[str, Field(pattern=r"^[!-~]+$")]


class ConditionSettings(Section):
    """A process variable has a value."""

    pv: PvName = Field(description="process variable: a position, a switch, a text")
    equals: float | str = Field(
        description="number in the PV's own units, or text: a value, or the name of a state"
    )
    tolerance: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="how far a number may be from it"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ConditionSettings:
        if isinstance(self.equals, str) and self.tolerance:
            raise ValueError(f"tolerance goes with a number, not with equals = {self.equals!r}")
        if isinstance(self.equals, float) and not math.isfinite(self.equals):
            raise ValueError(f"equals must be a finite number or a text, not {self.equals}")
        return self


class RoleRuleSettings(Section):
    """A role, and when frames have it."""

    role: Role = Field(description="role of the frames: sample, reference, flat or dark")
    when: tuple[ConditionSettings, ...] = Field(
        description="conditions that hold together; an empty array always holds"
    )
