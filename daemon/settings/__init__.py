"""The settings: one frozen tree, SI units, checked as a whole before anything starts.

`daemon.configuration` reads it from TOML and the environment. Every field's description is the
text that `cade config schema` and the documentation show.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from daemon.settings.epics import EpicsSettings
from daemon.settings.folder import FolderSettings, RoleSettings
from daemon.settings.geometry import GeometrySettings
from daemon.settings.output import ALL_FIELDS, OutputField, OutputSettings
from daemon.settings.references import Doubt, ReferenceSettings
from daemon.settings.section import Positive, Section
from daemon.settings.stream import StreamSettings
from daemon.settings.tracking import BatchSettings, CheckSettings, TrackerSettings


class LogSettings(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level")
    format: Literal["auto", "json", "console"] = Field("auto", description="auto = by terminal")


Source = Annotated[StreamSettings | FolderSettings, Field(discriminator="kind")]


class Settings(Section):
    """Everything that can be set."""

    sources: tuple[Source, ...] = Field((), description="where frames come from")
    roles: RoleSettings = Field(default_factory=RoleSettings)
    geometry: GeometrySettings = Field(default_factory=GeometrySettings)
    tracker: TrackerSettings = Field(default_factory=TrackerSettings)
    batch: BatchSettings = Field(default_factory=BatchSettings)
    checks: CheckSettings = Field(default_factory=CheckSettings)
    references: ReferenceSettings = Field(default_factory=ReferenceSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    epics: EpicsSettings = Field(default_factory=EpicsSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    drain_s: Positive = Field(30.0, description="longest time to finish waiting frames at the end")


__all__ = [
    "ALL_FIELDS",
    "BatchSettings",
    "CheckSettings",
    "Doubt",
    "EpicsSettings",
    "FolderSettings",
    "GeometrySettings",
    "LogSettings",
    "OutputField",
    "OutputSettings",
    "ReferenceSettings",
    "RoleSettings",
    "Section",
    "Settings",
    "Source",
    "StreamSettings",
    "TrackerSettings",
]
