"""One file of a watched folder, and what is known about it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cade.files.completeness import Completeness, Stage, completeness
from daemon.sources.file_finder import Sighting

Signature = tuple[int, int, int, int]
"""Device, inode, size and time of change [ns]: what tells that a file is still the same."""


@dataclass(slots=True, eq=False)
class WatchedFile:
    """A file and what is known about it; changed by the source's thread alone.

    `problem` is why it may not be read at all. `changed_s` (monotonic clock) is when its last
    change was noticed, `lost_s` since when it seems to be gone, `delivered` how many of its images
    have been handed on, and `digest` tells whether the last of them is still the same. `followed`
    is a file that was read while it grew. Of one with `only_new` the images are left out that it
    has when it is first looked into.
    """

    path: Path
    signature: Signature
    changed_s: float
    problem: str = ""
    complete: bool = False
    next_try_s: float = 0.0
    tried: bool = False
    delivered: int = 0
    digest: int = 0
    followed: bool = False
    only_new: bool = False
    lost_s: float | None = None
    _stage: Completeness | None = None

    @property
    def mtime_s(self) -> float:
        """Time of the last change [s, Unix time], as the file system states it."""
        return self.signature[3] * 1e-9

    def stage(self) -> Completeness:
        """What its header says; looked at again only when that may have changed."""
        if self._stage is None or self._stage.stage in (Stage.LOCKED, Stage.GROWING):
            try:
                self._stage = completeness(self.path)
            except OSError:  # gone, or not allowed: reading it will say so
                return Completeness(Stage.UNKNOWN)
        return self._stage

    def inherit(self, other: WatchedFile) -> None:
        """Take over what has been delivered of the same file in an earlier state."""
        self.delivered, self.digest = other.delivered, other.digest
        self.followed, self.only_new = other.followed, other.only_new


def signature_of(sighting: Sighting) -> Signature:
    """What tells that a file is still the same; a folder stays the same whatever comes into it."""
    status: os.stat_result = sighting.status
    if stat.S_ISDIR(status.st_mode):
        return status.st_dev, status.st_ino, 0, 0
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
