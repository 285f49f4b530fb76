"""The table of the result files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from daemon.settings.section import Section

OutputField = Literal["phase", "displacement", "refraction", "transmission", "dark_field"]
ALL_FIELDS: tuple[OutputField, ...] = (
    "phase",
    "displacement",
    "refraction",
    "transmission",
    "dark_field",
)


class OutputSettings(Section):
    """The HDF5 files."""

    root: Path = Field(Path("output"), description="folder under which everything is written")
    path: str = Field(
        "{root}/{proposal}/{series:06d}_{start:%Y%m%dT%H%M%S}.h5",
        description="template of a file's path: root, proposal, series, start",
    )
    proposal: str = Field("proposal", pattern=r"^[\w.-]+$", description="name of the proposal")
    write: tuple[OutputField, ...] = Field(ALL_FIELDS, description="fields that are written")
    compression: Literal["bitshuffle-lz4", "gzip", "none"] = Field(
        "bitshuffle-lz4", description="gzip for readers without the bitshuffle plugin"
    )
    remove_tilt: bool = Field(False, description="take the plane out of every phase image")
    divide_focusing: bool = Field(
        False, description="divide det(1 − ∇u) out of the transmission, which leaves absorption"
    )
