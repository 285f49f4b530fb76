"""The tables of a watched folder, and of what the names of its files say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from cade.frames import Role
from daemon.settings.section import Positive, Section


class FolderSettings(Section):
    """A watched folder of TIFF or HDF5 files."""

    kind: Literal["folder"] = "folder"
    path: Path = Field(description="the folder; its subfolders are series")
    patterns: tuple[str, ...] = Field(
        ("*.tif", "*.tiff", "*.h5", "*.hdf5", "*.nxs", "*.npy"), description="names that are taken"
    )
    watch: Literal["events", "polling"] = Field(
        "events", description="inotify events, or polling (network file systems need it)"
    )
    poll_interval_s: Positive = Field(1.0, description="time between two looks when polling")
    quiet_s: float = Field(0.5, ge=0, description="a file is ready when unchanged for this long")
    give_up_s: Positive = Field(
        10.0, description="a file still unreadable this long after its last change is rejected"
    )
    existing: Literal["take", "ignore"] = Field("take", description="files there at start")
    silence_s: Positive = Field(5.0, description="a series ends after this silence")


class RoleSettings(Section):
    """How a frame's role is known where its origin does not say: the first match decides."""

    reference: tuple[str, ...] = Field(
        ("*ref*", "*Ref*"), description="patterns of file or folder names of references"
    )
    flat: tuple[str, ...] = Field(("*flat*", "*Flat*"), description="the same for flats")
    dark: tuple[str, ...] = Field(("*dark*", "*Dark*"), description="the same for darks")
    default: Role = Field(Role.SAMPLE, description="role of a frame that nothing names")
