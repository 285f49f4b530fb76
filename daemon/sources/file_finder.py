"""Which files of a folder are images that may be read at all."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

Order = tuple[tuple[str, int], ...]


def natural_order(name: str) -> Order:
    """A sort key that counts numbers: `frame_9` comes before `frame_10`."""
    pairs = re.findall(r"(\D*)(\d*)", name)
    return tuple((text, int(number) if number else -1) for text, number in pairs)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What stands at a path; `problem` is why it may not be read, empty for a file that may."""

    status: os.stat_result
    problem: str = ""


class FileFinder:
    """Finds files below a folder whose names match.

    Hidden files and folders are left out, and links to folders are not entered. What has a name
    that matches, but is not a file in this folder, is found with a problem: whoever may write into
    the folder must not make the daemon read anything else.
    """

    def __init__(self, root: Path, patterns: tuple[str, ...]) -> None:
        self._root = root
        # One expression: folders of tens of thousands of files are looked through again and again.
        expressions = [fnmatch.translate(pattern.casefold()) for pattern in patterns]
        self._pattern = re.compile("|".join(expressions) or "(?!)")
        self._refused: set[str] = set()
        self._log = structlog.get_logger(__name__)

    def find(self) -> Iterator[tuple[Path, Sighting]]:
        """Everything of such a name. A folder that cannot be listed is reported and left out."""
        folders = [str(self._root)]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    listed = list(entries)
            except OSError as error:
                self._report(folder, error)
                continue
            self._refused.discard(folder)
            for entry in listed:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                if self.is_named(entry.name):
                    path = Path(entry.path)
                    sighting = self._of_entry(entry, path)
                    if sighting is not None:
                        yield path, sighting

    def look(self, path: Path) -> Sighting | None:
        """What stands at a path; None where it is not to be looked at, or nothing is there.

        A network file system may report a file as gone, or its handle as stale, for a moment.
        """
        names = path.relative_to(self._root).parts
        if any(name.startswith(".") for name in names) or not self.is_named(names[-1]):
            return None
        try:
            status = path.lstat()
        except OSError:
            return None
        return self._of_link(path, status) if stat.S_ISLNK(status.st_mode) else _of_status(status)

    def is_named(self, name: str) -> bool:
        """Whether a name matches."""
        return self._pattern.match(name.casefold()) is not None

    def _of_link(self, path: Path, link: os.stat_result) -> Sighting:
        try:
            target = path.resolve(strict=True)
            if not target.is_relative_to(self._root):
                return Sighting(link, f"is a link that leads out of {self._root}")
            return _of_status(target.stat())
        except (OSError, RuntimeError):
            return Sighting(link, "is a link that leads nowhere")

    def _of_entry(self, entry: os.DirEntry[str], path: Path) -> Sighting | None:
        if entry.is_symlink():
            return self.look(path)
        try:
            return _of_status(entry.stat(follow_symlinks=False))
        except OSError:  # gone
            return None

    def _report(self, folder: str, error: OSError) -> None:
        # A subfolder may vanish between being listed and being opened.
        gone = isinstance(error, FileNotFoundError) and folder != str(self._root)
        if not gone and folder not in self._refused:
            self._refused.add(folder)
            self._log.warning("folder cannot be listed", folder=folder, problem=error.strerror)


def _of_status(status: os.stat_result) -> Sighting:
    if stat.S_ISREG(status.st_mode):
        return Sighting(status)
    if stat.S_ISDIR(status.st_mode):
        return Sighting(status, "is a folder, not a file")
    return Sighting(status, "is not a file")
