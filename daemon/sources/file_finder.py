"""Which files of a folder are images that may be read at all."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import structlog

Order = tuple[tuple[str, int], ...]


def natural_order(name: str) -> Order:
    """A sort key that counts numbers: `frame_9` comes before `frame_10`."""
    pairs = re.findall(r"(\D*)(\d*)", name)
    return tuple((text, int(number) if number else -1) for text, number in pairs)


class FileFinder:
    """Finds regular files below a folder whose names match.

    Hidden files and folders are left out, and so are links to folders and links to files outside
    the folder: whoever may write into it must not make the daemon read anything else.
    """

    def __init__(self, root: Path, patterns: tuple[str, ...]) -> None:
        self._root = root
        # One expression: folders of tens of thousands of files are looked through again and again.
        expressions = [fnmatch.translate(pattern.casefold()) for pattern in patterns]
        self._pattern = re.compile("|".join(expressions) or "(?!)")
        self._refused: set[str] = set()
        self._log = structlog.get_logger(__name__)

    def find(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Every such file. A folder that cannot be listed is reported once and left out."""
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
                    continue
                if self._is_named(entry.name):
                    path = Path(entry.path)
                    status = self._status_of_entry(entry, path)
                    if status is not None:
                        yield path, status

    def status(self, path: Path) -> os.stat_result | None:
        """What the file system says about a file; None where it is not to be read, or is gone."""
        names = path.relative_to(self._root).parts
        if any(name.startswith(".") for name in names) or not self._is_named(names[-1]):
            return None
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                if not path.resolve(strict=True).is_relative_to(self._root):
                    return None
                status = path.stat()
        except (OSError, RuntimeError):  # gone, or a link that leads to itself
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def _status_of_entry(self, entry: os.DirEntry[str], path: Path) -> os.stat_result | None:
        if entry.is_symlink():
            return self.status(path)
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:  # gone
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def _is_named(self, name: str) -> bool:
        return self._pattern.match(name.casefold()) is not None

    def _report(self, folder: str, error: OSError) -> None:
        # A subfolder may vanish between being listed and being opened.
        gone = isinstance(error, FileNotFoundError) and folder != str(self._root)
        if not gone and folder not in self._refused:
            self._refused.add(folder)
            self._log.warning("folder cannot be listed", folder=folder, problem=error.strerror)
