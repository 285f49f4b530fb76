"""A watched folder as a source of events."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import structlog

from cade.errors import CadeError
from cade.files import StoredImage, UnreadableFile
from cade.files.completeness import Stage
from cade.frames import Beamline, Event, Frame, Image, Reason, Rejected, SeriesStart
from daemon.roles import role_of
from daemon.settings import FolderSettings, RoleSettings
from daemon.sources.file_order import FileOrder
from daemon.sources.file_reader import FileReader
from daemon.sources.file_watch import FileWatch
from daemon.sources.folder_series import FolderSeries, printable
from daemon.sources.watched_file import WatchedFile

_LAST_FILES = 64
"""Of the files that are ready when the source is stopped, so many are still read."""


class FolderSource:
    """Reads image files as they are finished, and HDF5 files while they grow (SWMR).

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
        self._reader = FileReader(self._root)
        self._end_asked = threading.Event()
        self._log = structlog.get_logger(__name__)

    def end_series(self) -> None:
        """Ask for the end of every open series; a later file of its folder begins another."""
        self._end_asked.set()

    def events(self, stop: threading.Event) -> Generator[Event]:
        """Events until `stop` is set and the files that were ready by then are handed on.

        Frames come in the order of `settings.order` among the files that are ready; folders whose
        name states a role (references) come before the others. A series that is open at the end is
        left open. A file that cannot be read comes as `Rejected`.

        Raises:
            CadeError: the folder does not exist, or cannot be watched.
        """
        self._root = _existing(self._settings.path)
        self._series = FolderSeries(self._root, self._silence_s())
        with FileReader(self._root) as reader, FileWatch(self._settings, self._root) as watch:
            self._reader = reader
            order = FileOrder(self._settings, self._roles, self._root, reader)
            while not stop.is_set():
                yield from self._read_ready(watch, order, stop)
                yield from self._end_silent(watch)
                if self._end_asked.is_set():
                    self._end_asked.clear()
                    yield from self._end_all()
                watch.wait(stop)
            for file in order.sort(watch.look())[:_LAST_FILES]:
                yield from self._read(watch, file, stop)

    def _silence_s(self) -> float:
        """Silence that ends a series; between two looks at the folder there is always silence."""
        settings = self._settings
        if settings.watch == "events":
            return settings.silence_s
        return max(settings.silence_s, 2 * settings.poll_interval_s + settings.quiet_s)

    def _read_ready(
        self, watch: FileWatch, order: FileOrder, stop: threading.Event
    ) -> Iterator[Event]:
        for file in order.sort(watch.look()):
            if stop.is_set():
                return
            before = file.delivered
            yield from self._read(watch, file, stop)
            if file.delivered > before or not watch.waits(file):
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

    def _end_all(self) -> Iterator[Event]:
        for folder in self._series.open_folders():
            yield from self._series.end(folder)

    def _read(self, watch: FileWatch, file: WatchedFile, stop: threading.Event) -> Iterator[Event]:
        """What a file holds beyond what has been delivered, or why it cannot be read."""
        last_try = watch.gives_up(file)
        try:
            if file.problem:
                raise UnreadableFile(file.path, file.problem)
            if file.lost_s is None and file.stage().stage is Stage.GROWING:
                yield from self._read_growing(watch, file, stop)
            else:
                yield from self._read_finished(watch, file, last_try=last_try)
        except UnreadableFile as error:
            if not (error.hopeless or last_try):
                watch.retry(file)
                return
            known = bool(file.problem) or file.lost_s is not None
            cut_off = not known and file.stage().stage is Stage.UNFINISHED
            problem = file.stage().problem if cut_off else error.problem
            yield self._reject(file, Reason.UNREADABLE, problem)
            watch.done(file)

    def _read_finished(
        self, watch: FileWatch, file: WatchedFile, *, last_try: bool
    ) -> Iterator[Event]:
        before = file.delivered
        while True:
            try:
                for image in self._reader.images(file.path, file.delivered):
                    self._check_finished(watch, file, image, last_try=last_try)
                    yield from self._frame(watch, file, image)
            except UnreadableFile as error:
                cut_off = file.stage().stage is Stage.UNFINISHED
                if error.index is None or cut_off or not last_try:
                    raise
                yield self._lose_image(file, error.problem)  # those behind it may be good
            else:
                break
        if file.delivered == before and not file.followed and not self._is_same(file):
            detail = "changed, but holds no image that was not there before"
            yield self._reject(file, Reason.REPEATED, detail)
        watch.done(file)

    def _read_growing(
        self, watch: FileWatch, file: WatchedFile, stop: threading.Event
    ) -> Iterator[Event]:
        """What is complete of a file that is being written; all of it where its writer is dead."""
        if file.only_new:
            file.delivered, file.only_new = self._reader.count(file.path), False
        file.followed = True
        settled = watch.is_silent(file, self._silence_s())
        while not stop.is_set() or settled:
            quiet = watch.is_quiet(file)
            try:
                image, ended = self._reader.growing(
                    file.path, file.delivered, quiet=quiet, settled=settled
                )
            except UnreadableFile as error:
                if error.index is None:
                    raise
                yield self._lose_image(file, error.problem)
                continue
            if image is None:
                break
            yield from self._frame(watch, file, image)
        else:
            return
        if settled and not ended:
            self._log.warning(
                "file left open by its writer",
                file=printable(file.path),
                images=file.delivered,
                silence_s=self._silence_s(),
            )
        if settled or ended:
            watch.done(file)

    def _is_same(self, file: WatchedFile) -> bool:
        """Whether a file is what it was, with another time: file servers correct times later."""
        if file.delivered == 0:
            return False
        last = next(self._reader.images(file.path, file.delivered - 1), None)
        return last is not None and _digest(last.data) == file.digest

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
            monitor=image.monitor,
        )
        yield self._series.number(folder, frame)
        file.digest = _digest(image.data)
        file.delivered += 1

    def _start(self, file: WatchedFile, image: StoredImage) -> SeriesStart:
        height, width = image.data.shape
        try:
            beamline = self._reader.beamline(file.path, self._settings.diffuser)
        except UnreadableFile as error:  # its images are good all the same
            beamline = Beamline()
            self._log.warning("metadata left out", file=printable(file.path), problem=error.problem)
        return SeriesStart(
            series_id="",
            start_time_s=file.mtime_s,
            shape=(height, width),
            dtype=str(image.data.dtype),
            beamline=replace(beamline, detector=beamline.detector or self._settings.detector),
        )

    def _lose_image(self, file: WatchedFile, problem: str) -> Rejected:
        """One damaged image among others; it keeps its number."""
        file.delivered += 1
        return self._reject(file, Reason.UNREADABLE, problem, self._series.skip(file.path.parent))

    def _reject(
        self, file: WatchedFile, reason: Reason, detail: str, image_id: int = -1
    ) -> Rejected:
        path, series_id = printable(file.path), self._series.series_id(file.path.parent)
        return Rejected(series_id, image_id, reason, f"{path}: {detail}", path)


def _digest(data: Image) -> int:
    """Tells two images apart, at a fraction of the time that it takes to read them."""
    return zlib.crc32(data[::16].tobytes())


def _existing(path: Path) -> Path:
    if not path.is_dir():
        raise CadeError(f"{path}: no such folder; create it, or change `path` of the source")
    return path.resolve()
