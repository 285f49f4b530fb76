"""A watched folder as a source of events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import structlog

from cade.errors import CadeError
from cade.files import StoredImage, UnreadableFile, read, read_beamline
from cade.frames import Beamline, Event, Frame, Reason, Rejected, SeriesStart
from daemon.roles import role_of
from daemon.settings import FolderSettings, RoleSettings
from daemon.sources.file_finder import Order, natural_order
from daemon.sources.file_watch import FileWatch, WatchedFile
from daemon.sources.folder_series import FolderSeries, printable

_LAST_FILES = 64
"""Of the files that are ready when the source is stopped, so many are still read."""


class FolderSource:
    """Reads image files as they are finished.

    Args:
        settings: which folder, and how it is watched.
        roles: patterns of names that state a frame's role.
    """

    def __init__(self, settings: FolderSettings, roles: RoleSettings) -> None:
        self.name = f"folder {settings.path}"
        self._settings = settings
        self._roles = roles
        self._root = settings.path.absolute()
        self._series = FolderSeries(self._root, 0.0)
        self._log = structlog.get_logger(__name__)

    def events(self, stop: threading.Event) -> Iterator[Event]:
        """Events until `stop` is set and the files that were ready by then are handed on.

        Frames come in the natural order of the names among the files that are ready; folders whose
        name states a role (references) come before the others. A series that is open at the end is
        left open. A file that cannot be read comes as `Rejected`.

        Raises:
            CadeError: the folder does not exist, or cannot be watched.
        """
        self._root = _existing(self._settings.path)
        self._series = FolderSeries(self._root, self._silence_s())
        with FileWatch(self._settings, self._root) as watch:
            while not stop.is_set():
                yield from self._read_ready(watch, stop)
                yield from self._end_silent(watch)
                watch.wait(stop)
            for file in self._in_order(watch.look())[:_LAST_FILES]:
                yield from self._read(watch, file)

    def _silence_s(self) -> float:
        """Silence that ends a series; between two looks at the folder there is always silence."""
        settings = self._settings
        if settings.watch == "events":
            return settings.silence_s
        return max(settings.silence_s, 2 * settings.poll_interval_s + settings.quiet_s)

    def _read_ready(self, watch: FileWatch, stop: threading.Event) -> Iterator[Event]:
        for file in self._in_order(watch.look()):
            if stop.is_set():
                return
            yield from self._read(watch, file)
            self._series.touch(file.path.parent)

    def _end_silent(self, watch: FileWatch) -> Iterator[Event]:
        silent = self._series.silent()
        if silent:
            watch.look()  # reading the others may have taken long: has something come meanwhile?
        yield from self._end(watch, silent)

    def _end(self, watch: FileWatch, folders: list[Path]) -> Iterator[Event]:
        for folder in folders:
            if not watch.waits_in(folder):
                yield from self._series.end(folder)

    def _in_order(self, files: list[WatchedFile]) -> list[WatchedFile]:
        def key(file: WatchedFile) -> tuple[bool, tuple[Order, ...]]:
            parts = file.path.relative_to(self._root).parts
            plain = role_of(parts[:-1], self._roles) is None
            return plain, tuple(natural_order(part) for part in parts)

        return sorted(files, key=key)

    def _read(self, watch: FileWatch, file: WatchedFile) -> Iterator[Event]:
        """What a file holds beyond what has been delivered, or why it cannot be read."""
        before = file.delivered
        last_try = watch.gives_up(file)
        try:
            for index, image in enumerate(read(file.path)):
                if index < file.delivered:
                    continue
                self._check_finished(watch, file, image, last_try=last_try)
                yield from self._frame(watch, file, image)
                file.delivered += 1
        except UnreadableFile as error:
            if not last_try:
                watch.retry(file)
                return
            yield self._reject(file, Reason.UNREADABLE, error.problem)
        else:
            if file.delivered == before:
                detail = "changed, but holds no image that was not there before"
                yield self._reject(file, Reason.REPEATED, detail)
        watch.done(file)

    def _check_finished(
        self, watch: FileWatch, file: WatchedFile, image: StoredImage, *, last_try: bool
    ) -> None:
        """Some writers reserve a file's space first; then it reads as zeros for a while."""
        if not watch.unchanged(file):
            raise UnreadableFile(file.path, "changed while it was read")
        if not last_try and not image.data.any():
            raise UnreadableFile(file.path, "holds only zeros so far")

    def _frame(self, watch: FileWatch, file: WatchedFile, image: StoredImage) -> Iterator[Event]:
        folder = file.path.parent
        if not self._series.is_open(folder):
            # References count from the end of their series: it must not wait for silence now.
            yield from self._end(watch, self._series.without_samples())
            yield self._series.start(folder, self._start(file, image))
        names = reversed(file.path.relative_to(self._root).parts)
        frame = Frame(
            series_id="",
            image_id=0,
            data=image.data,
            timestamp_s=file.mtime_s if image.timestamp_s is None else image.timestamp_s,
            role=image.role or role_of(names, self._roles),
            origin=printable(file.path),
        )
        yield self._series.number(folder, frame)

    def _start(self, file: WatchedFile, image: StoredImage) -> SeriesStart:
        height, width = image.data.shape
        try:
            beamline = read_beamline(file.path)
        except UnreadableFile as error:  # its images are good all the same
            beamline = Beamline()
            self._log.warning("metadata left out", file=printable(file.path), problem=error.problem)
        return SeriesStart(
            series_id="",
            start_time_s=file.mtime_s,
            shape=(height, width),
            dtype=str(image.data.dtype),
            beamline=beamline,
        )

    def _reject(self, file: WatchedFile, reason: Reason, detail: str) -> Rejected:
        path, series_id = printable(file.path), self._series.series_id(file.path.parent)
        return Rejected(series_id, -1, reason, f"{path}: {detail}", path)


def _existing(path: Path) -> Path:
    if not path.is_dir():
        raise CadeError(f"{path}: no such folder; create it, or change `path` of the source")
    return path.resolve()
