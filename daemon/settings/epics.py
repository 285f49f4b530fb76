"""The table of process variables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import Field, model_validator

from daemon.settings.epics_metadata import MetadataSettings
from daemon.settings.epics_roles import RoleRuleSettings
from daemon.settings.section import Positive, Section


class EpicsSettings(Section):
    """Process variables that drive the daemon; empty names are not used."""

    acquire_pv: str = Field("", pattern=r"^[!-~]*$", description="1 starts a series, 0 ends it")
    role_pv: str = Field(
        "",
        pattern=r"^[!-~]*$",
        description="role of the frames: a name or 0 … 3 in the order of Role",
    )
    roles: tuple[RoleRuleSettings, ...] = Field(
        (),
        description="roles by the values of PVs, instead of role_pv: the first rule whose "
        "conditions all hold decides; frames for which none holds are rejected",
    )
    metadata: tuple[MetadataSettings, ...] = Field(
        (), description="PVs that are written to the result files"
    )
    connect_s: Positive = Field(
        10.0,
        description="a PV silent this long at start is reported, and a series waits this long "
        "for a role that is not known",
    )
    settle_s: float = Field(
        1.0,
        ge=0,
        description="a series ends this long after acquire_pv fell, and a frame may be this much "
        "earlier than its rise: Channel Access is slower than a detector",
    )

    @model_validator(mode="after")
    def _consistent(self) -> EpicsSettings:
        if self.acquire_pv and self.acquire_pv == self.role_pv:
            raise ValueError("acquire_pv and role_pv name the same PV")
        if self.role_pv and self.roles:
            raise ValueError("role_pv and roles both state the role: leave one of them out")
        for use in _twice(item.use for item in self.metadata if item.use is not None):
            raise ValueError(f'metadata: two PVs have use = "{use}"')
        for name in _twice(name for item in self.metadata for name in column_names(item)):
            raise ValueError(f'metadata: two datasets are called "{name}"; give them names')
        return self

    @property
    def states_role(self) -> bool:
        """Whether PVs say what frames are."""
        return bool(self.role_pv or self.roles)

    @property
    def pvs(self) -> tuple[str, ...]:
        """Every PV that is needed, once."""
        names = [self.role_pv, self.acquire_pv]
        names += [condition.pv for rule in self.roles for condition in rule.when]
        names += [item.pv for item in self.metadata]
        return tuple(dict.fromkeys(name for name in names if name))


def column_names(item: MetadataSettings) -> tuple[str, ...]:
    """The datasets that a PV has in the file: its value, and what is known about that."""
    name = item.stored_name
    if not item.is_per_frame:
        return (name,)
    return (name, f"{name}_timestamp", f"{name}_age", f"{name}_connected")


def _twice(names: Iterable[str]) -> Iterable[str]:
    return [name for name, count in Counter(names).items() if count > 1]
