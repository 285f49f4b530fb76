"""The files of an areaDetector file plugin as a source of events."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import structlog

from cade.errors import CadeError
from cade.files import StoredImage, UnreadableFile, read, read_beamline
from cade.frames import Beamline, Event, Frame, Reason, Rejected, SeriesEnd, SeriesStart
from daemon.roles import role_of
from daemon.settings import RoleSettings
from daemon.settings.area_detector import AreaDetectorSettings
from daemon.sources.epics_file_plugin import FIELDS, FilePlugin, WrittenFile
from daemon.sources.folder_series import printable
from daemon.sources.ioc_path import is_plain, local_path
from daemon.sources.pv_board import PvBoard
from daemon.sources.pv_report import PvReport

_TICK_S = 0.1
_RETRY_S = 0.25

Signature = tuple[int, int, int]


class AreaDetectorSource:
    """Reads each file when the plugin has completed it; a file is a series.

    Args:
        settings: which plugin, and where its files are.
        roles: patterns of names that state a frame's role.

    Raises:
        CadeError: the folder does not exist.
    """

    def __init__(self, settings: AreaDetectorSettings, roles: RoleSettings) -> None:
        self.name = f"files of {settings.file_plugin}"
        if not settings.path.is_dir():
            raise CadeError(
                f"{settings.path}: no such folder; create it, or change `path` of the source"
            )
        self._settings, self._roles = settings, roles
        self._root = settings.path.resolve()
        pvs = [settings.file_plugin + field for field in FIELDS]
        self._board = PvBoard(pvs, pvs)
        self._plugin = FilePlugin()
        self._report = PvReport()
        self._connected: dict[str, bool | None] = dict.fromkeys(pvs)  # None: not yet
        self._report_due_s = 0.0
        self._seen: dict[Path, Signature | None] = {}
        self._reading = False
        self._log = structlog.get_logger(__name__)

    @property
    def is_busy(self) -> bool:
        """Whether frames are still to come of what the plugin has begun to write."""
        return self._plugin.is_busy or self._reading

    def connect(self) -> None:
        """Begin to look for the PVs; returns at once. Call it in the main thread.

        Raises:
            CadeError: the Channel Access library cannot be loaded.
        """
        self._report_due_s = time.monotonic() + self._settings.connect_s
        self._board.connect()

    def close(self) -> None:
        """Let the PVs go. Call it in the main thread, when `events` has ended."""
        self._board.close()

    def end_series(self) -> None:
        """Nothing is ever open: a file is read when it is complete."""

    def events(self, stop: threading.Event) -> Generator[Event]:
        """Events until `stop` is set and the files that were complete by then are handed on.

        A file that is there at the start is left alone. One that cannot be read comes as
        `Rejected`.
        """
        while not stop.is_set():
            self._follow(_TICK_S)
            self._report_silent()
            yield from self._take(stop)
        for _ in range(self._board.waiting()):
            self._follow(0.0)
        yield from self._take(stop)

    def _follow(self, timeout_s: float) -> None:
        news = self._board.next(timeout_s)
        if news is None:
            return
        pv, state = news
        if state.connected != self._connected[pv]:
            log = self._log.info if state.connected else self._log.warning
            log("PV connected" if state.connected else "PV disconnected", pv=pv)
            self._connected[pv] = state.connected
        field = pv.removeprefix(self._settings.file_plugin)
        try:
            there = self._plugin.follow(field, state, time.monotonic())
            if there:
                path = self._path(there)
                self._seen[path] = _signature(path)
        except ValueError as error:
            self._report.warn(pv, str(error))

    def _report_silent(self) -> None:
        if self._report_due_s and time.monotonic() >= self._report_due_s:
            self._report_due_s = 0.0
            silent = [pv for pv, state in self._connected.items() if state is None]
            for pv in silent:
                self._report.warn(pv, f"is silent for {self._settings.connect_s:g} s; waiting")

    def _take(self, stop: threading.Event) -> Iterator[Event]:
        self._reading = True  # first: between the two lines it must not look idle
        try:
            for file in self._plugin.take(time.monotonic()):
                yield from self._read_file(file, stop)
        finally:
            self._reading = False

    def _path(self, name: str) -> Path:
        return local_path(name, self._root, self._settings.ioc_path)

    def _read_file(self, file: WrittenFile, stop: threading.Event) -> Iterator[Event]:
        try:
            path = self._path(file.name)
        except ValueError as error:
            yield self._reject(Path(file.name), str(error))
            return
        signature = _signature(path)
        if signature is not None and self._seen.get(path) == signature:
            self._log.debug("nothing new was written", file=printable(path))
            return
        if file.problem or not is_plain(path):
            yield self._reject(path, file.problem or "is not a regular file")
            return
        yield from self._read(path, file, stop)
        self._seen[path] = _signature(path)

    def _read(self, path: Path, file: WrittenFile, stop: threading.Event) -> Iterator[Event]:
        """All images; what is not there yet is waited for: network file systems show it late."""
        delivered, due_s = 0, time.monotonic() + self._settings.give_up_s
        while True:
            last_try = time.monotonic() >= due_s or stop.is_set()
            try:
                for index, image in enumerate(read(path)):
                    if index < delivered:
                        continue
                    if index == 0:
                        yield self._start(path, file, image)
                    yield self._frame(path, index, image)
                    delivered += 1
                problem = _short_of(delivered, file)
            except UnreadableFile as error:
                problem = error.problem
                last_try |= error.hopeless
                if last_try:
                    yield self._reject(path, problem)
            if not problem or last_try:
                break
            stop.wait(_RETRY_S)
        if delivered and problem:
            self._log.warning("file is incomplete", file=printable(path), problem=problem)
        if delivered:
            yield SeriesEnd(self._series_id(path))

    def _start(self, path: Path, file: WrittenFile, image: StoredImage) -> SeriesStart:
        height, width = image.data.shape
        try:
            beamline = read_beamline(path)
        except UnreadableFile as error:  # its images are good all the same
            beamline = Beamline()
            self._log.warning("metadata left out", file=printable(path), problem=error.problem)
        return SeriesStart(
            series_id=self._series_id(path),
            start_time_s=_time_s(path),
            image_count=file.count,
            shape=(height, width),
            dtype=str(image.data.dtype),
            beamline=beamline,
        )

    def _frame(self, path: Path, index: int, image: StoredImage) -> Frame:
        names = reversed(path.relative_to(self._root).parts)
        return Frame(
            series_id=self._series_id(path),
            image_id=index,
            data=image.data,
            timestamp_s=_time_s(path) if image.timestamp_s is None else image.timestamp_s,
            role=image.role or role_of(names, self._roles),
            origin=printable(path),
            monitor=image.monitor,
        )

    def _series_id(self, path: Path) -> str:
        return printable(path.relative_to(self._root))

    def _reject(self, path: Path, problem: str) -> Rejected:
        name = printable(path)
        inside = path.is_relative_to(self._root)
        series_id = self._series_id(path) if inside else name
        return Rejected(series_id, -1, Reason.UNREADABLE, f"{name}: {problem}", name)


def _short_of(delivered: int, file: WrittenFile) -> str:
    if file.count is None or delivered >= file.count:
        return ""
    return f"holds {delivered} of the {file.count} images that the plugin has captured"


def _signature(path: Path) -> Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _time_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()
