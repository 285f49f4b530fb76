"""The settings: one frozen tree, SI units, checked as a whole before anything starts.

`daemon.configuration` reads it from TOML and the environment. Every field's description is the
text that `cade config schema` and the documentation show.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from daemon.settings.area_detector import AreaDetectorSettings
from daemon.settings.detector import DetectorSettings, Region, TransmissionSettings
from daemon.settings.epics import EpicsSettings
from daemon.settings.folder import FolderSettings, RoleSettings
from daemon.settings.geometry import GeometrySettings
from daemon.settings.output import ALL_FIELDS, OutputField, OutputSettings
from daemon.settings.pva import PvaSettings
from daemon.settings.references import Doubt, ReferenceSettings
from daemon.settings.section import Positive, Section
from daemon.settings.server import EpicsServerSettings
from daemon.settings.stream import StreamSettings
from daemon.settings.tracking import BatchSettings, CheckSettings, TrackerSettings


class LogSettings(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level")
    format: Literal["auto", "json", "console"] = Field("auto", description="auto = by terminal")


Source = Annotated[
    StreamSettings | FolderSettings | PvaSettings | AreaDetectorSettings,
    Field(discriminator="kind"),
]


class Settings(Section):
    """Everything that can be set."""

    sources: tuple[Source, ...] = Field((), description="where frames come from")
    roles: RoleSettings = Field(default_factory=RoleSettings)
    geometry: GeometrySettings = Field(default_factory=GeometrySettings)
    detector: DetectorSettings = Field(default_factory=DetectorSettings)
    transmission: TransmissionSettings = Field(default_factory=TransmissionSettings)
    tracker: TrackerSettings = Field(default_factory=TrackerSettings)
    batch: BatchSettings = Field(default_factory=BatchSettings)
    checks: CheckSettings = Field(default_factory=CheckSettings)
    references: ReferenceSettings = Field(default_factory=ReferenceSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    epics: EpicsSettings = Field(default_factory=EpicsSettings)
    epics_server: EpicsServerSettings = Field(default_factory=EpicsServerSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    drain_s: Positive = Field(30.0, description="longest time to finish waiting frames at the end")


__all__ = [
    "ALL_FIELDS",
    "AreaDetectorSettings",
    "BatchSettings",
    "CheckSettings",
    "DetectorSettings",
    "Doubt",
    "EpicsServerSettings",
    "EpicsSettings",
    "FolderSettings",
    "GeometrySettings",
    "LogSettings",
    "OutputField",
    "OutputSettings",
    "PvaSettings",
    "ReferenceSettings",
    "Region",
    "RoleSettings",
    "Section",
    "Settings",
    "Source",
    "StreamSettings",
    "TrackerSettings",
    "TransmissionSettings",
]
