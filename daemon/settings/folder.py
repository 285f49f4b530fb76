"""The tables of a watched folder, and of what the names of its files say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from cade.frames import Role
from daemon.settings.section import Positive, Section


class FolderSettings(Section):
    """A watched folder of image files."""

    kind: Literal["folder"] = "folder"
    path: Path = Field(description="the folder; its subfolders are series")
    patterns: tuple[str, ...] = Field(
        ("*.tif", "*.tiff", "*.h5", "*.hdf5", "*.nxs", "*.npy", "*.edf", "*.cbf"),
        description="names that are taken",
    )
    watch: Literal["events", "polling"] = Field(
        "events", description="inotify events, or polling (network file systems need it)"
    )
    poll_interval_s: Positive = Field(1.0, description="time between two looks when polling")
    quiet_s: float = Field(
        0.5,
        ge=0,
        description="a file is ready when unchanged for this long, if nobody has said so before",
    )
    give_up_s: Positive = Field(
        10.0,
        description="a file that is unreadable, or shorter than its own header says, this long "
        "after its last change is rejected",
    )
    existing: Literal["take", "ignore"] = Field(
        "take",
        description="files there at start; of one that is being written (SWMR), images there",
    )
    order: Literal["name", "time", "header"] = Field(
        "name",
        description="order of the files of a folder that are ready together: by the numbers in "
        "their names, by their time of change, or by the time in their headers",
    )
    silence_s: Positive = Field(
        5.0,
        description="a series ends after this silence, and a file left open by a dead writer too",
    )
    detector: str | None = Field(
        None, description="name of the detector, where the files do not say it"
    )
    diffuser: str = Field(
        "",
        description="where NeXus files have the position of the diffuser's motor, for example "
        "/entry/instrument/diffuser_x/value",
    )


class RoleSettings(Section):
    """How a frame's role is known where its origin does not say: the first match decides."""

    reference: tuple[str, ...] = Field(
        ("*ref*", "*Ref*"), description="patterns of file or folder names of references"
    )
    flat: tuple[str, ...] = Field(("*flat*", "*Flat*"), description="the same for flats")
    dark: tuple[str, ...] = Field(("*dark*", "*Dark*"), description="the same for darks")
    default: Role = Field(Role.SAMPLE, description="role of a frame that nothing names")
