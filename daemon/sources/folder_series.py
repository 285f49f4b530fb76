"""Which series the files of a folder belong to, and when it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cade.frames import Frame, Role, SeriesEnd, SeriesStart


def printable(path: Path) -> str:
    """A path as text that every log and file can hold, whatever bytes its names are made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(slots=True)
class _Open:
    series_id: str
    last_s: float
    images: int = 0
    has_samples: bool = False


class FolderSeries:
    """The open series, at most one for each folder; a subfolder's name is its series' name."""

    def __init__(self, root: Path, silence_s: float) -> None:
        self._root = root
        self._silence_s = silence_s
        self._open: dict[Path, _Open] = {}

    def name(self, folder: Path) -> str:
        """What the series of a folder is called while none is open there."""
        if folder == self._root:
            return printable(Path(self._root.name))
        return printable(folder.relative_to(self._root))

    def series_id(self, folder: Path) -> str:
        """The open series of a folder, else its name."""
        return self._open[folder].series_id if folder in self._open else self.name(folder)

    def is_open(self, folder: Path) -> bool:
        """Whether the next frame of this folder needs no start."""
        return folder in self._open

    def start(self, folder: Path, start: SeriesStart) -> SeriesStart:
        """Open a series; its name is put into `start`."""
        name = self.name(folder)
        if folder == self._root:
            begun = datetime.fromtimestamp(start.start_time_s, UTC)
            name = f"{name}-{begun:%Y%m%dT%H%M%S.%fZ}"
        self._open[folder] = _Open(name, time.monotonic())
        return replace(start, series_id=name)

    def number(self, folder: Path, frame: Frame) -> Frame:
        """The frame with its series and its running number in it."""
        series = self._open[folder]
        series.images += 1
        series.has_samples |= frame.role in (None, Role.SAMPLE)
        return replace(frame, series_id=series.series_id, image_id=series.images - 1)

    def skip(self, folder: Path) -> int:
        """The running number of an image that is lost; -1 where no series is open."""
        if folder not in self._open:
            return -1
        self._open[folder].images += 1
        return self._open[folder].images - 1

    def touch(self, folder: Path) -> None:
        """A file has come: silence begins anew."""
        if folder in self._open:
            self._open[folder].last_s = time.monotonic()

    def silent(self) -> list[Path]:
        """Folders of open series in which no file has come for `silence_s`."""
        now_s = time.monotonic()
        return [f for f, s in self._open.items() if now_s - s.last_s >= self._silence_s]

    def open_folders(self) -> list[Path]:
        """Folders of open series."""
        return list(self._open)

    def without_samples(self) -> list[Path]:
        """Folders of open series that so far hold references, flats and darks only."""
        return [folder for folder, series in self._open.items() if not series.has_samples]

    def end(self, folder: Path) -> Iterator[SeriesEnd]:
        """Close the series of a folder."""
        yield SeriesEnd(self._open.pop(folder).series_id)
