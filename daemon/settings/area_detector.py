"""The table of files that areaDetector writes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from daemon.settings.section import Positive, Section


class AreaDetectorSettings(Section):
    """Files of an EPICS areaDetector file plugin, each taken when the plugin has completed it."""

    kind: Literal["areadetector"] = "areadetector"
    file_plugin: str = Field(
        description="prefix of the plugin's PVs, for example 13SIM1:HDF1:", pattern=r"^[!-~]+$"
    )
    path: Path = Field(description="folder in which the files are; no other is read")
    ioc_path: str = Field(
        "",
        description="the same folder as the IOC names it, for example /mnt/raid or X:\\data; the "
        "value of path if not given",
    )
    connect_s: Positive = Field(10.0, description="a PV silent this long at start is reported")
    give_up_s: Positive = Field(
        10.0, description="a complete file still unreadable after this long is rejected"
    )
