"""When a file is ready to be read, and how often it is tried again."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from daemon.settings import FolderSettings
from daemon.sources.file_events import FileEvents, Hint
from daemon.sources.file_finder import FileFinder

_TICK_S = 0.1
_RESCAN_S = 5.0
"""With events, time between two looks for files whose events were lost."""
_SCAN_SHARE = 20
_POLL_SHARE = 4
"""Where that look itself takes long: at least so many times as long passes before the next one."""
_LEAST_RETRY_S = 0.25

Signature = tuple[int, int, int, int]
"""Device, inode, size and time of change [ns]: what tells that a file is still the same."""


@dataclass(slots=True, eq=False)
class WatchedFile:
    """A file and what is known about it; changed by the source's thread alone.

    `changed_s` (monotonic clock) is when its last change was noticed, `delivered` how many of its
    images have been handed on.
    """

    path: Path
    signature: Signature
    changed_s: float
    complete: bool = False
    next_try_s: float = 0.0
    tried: bool = False
    delivered: int = 0

    @property
    def mtime_s(self) -> float:
        """Time of the last change [s, Unix time], as the file system states it."""
        return self.signature[3] * 1e-9


class FileWatch:
    """The files of a folder that wait to be read; a context manager.

    Raises:
        CadeError: on entering, where the folder cannot be watched by events.
    """

    def __init__(self, settings: FolderSettings, root: Path) -> None:
        self._settings = settings
        self._finder = FileFinder(root, settings.patterns)
        self._events = FileEvents(root) if settings.watch == "events" else None
        self._waiting: dict[Path, WatchedFile] = {}
        self._done: dict[Path, WatchedFile] = {}
        self._owner: dict[Signature, Path] = {}  # of done files, to know them when renamed
        self._hints: list[Hint] = []
        self._next_scan_s = 0.0
        self._scan_s = 0.0

    def __enter__(self) -> FileWatch:
        """Start to watch, before the first look, so that no file falls in between."""
        if self._events is not None:
            self._events.__enter__()
        if self._settings.existing == "ignore":
            self._scan(time.monotonic())
            for file in list(self._waiting.values()):
                self.done(file)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; no thread stays."""
        if self._events is not None:
            self._events.__exit__(kind, error, traceback)

    def wait(self, stop: threading.Event) -> None:
        """Until there may be something new, or `stop` is set (then soon)."""
        if self._events is None:
            stop.wait(max(self._settings.poll_interval_s, _POLL_SHARE * self._scan_s))
        else:
            self._hints += self._events.take(_TICK_S)

    def look(self) -> list[WatchedFile]:
        """Files that are ready to be read now, in no order.

        A file that was ready or tried and is gone since is among them: reading it will say so.
        """
        now_s = time.monotonic()
        if self._events is not None:
            self._hints += self._events.take(0.0)
        hints, self._hints = self._hints, []
        for hint in hints:
            self._follow(hint, now_s)
        if self._events is None or now_s >= self._next_scan_s:
            self._scan(now_s)
            self._scan_s = time.monotonic() - now_s
            self._next_scan_s = now_s + max(_RESCAN_S, _SCAN_SHARE * self._scan_s)
        else:
            for path in list(self._waiting):
                self._see(path, self._finder.status(path), now_s)
        return [file for file in self._waiting.values() if self._ready(file, now_s)]

    def waits_in(self, folder: Path) -> bool:
        """Whether a file directly in this folder still waits."""
        return any(path.parent == folder for path in self._waiting)

    def unchanged(self, file: WatchedFile) -> bool:
        """Whether the file is what it was when last looked at; true as well if it is gone."""
        with contextlib.suppress(OSError):
            return _signature(file.path.stat()) == file.signature
        return True

    def gives_up(self, file: WatchedFile) -> bool:
        """Whether no further try is worth it: it has not changed for long, or it is gone."""
        gone = self._finder.status(file.path) is None
        return gone or time.monotonic() - file.changed_s >= self._settings.give_up_s

    def retry(self, file: WatchedFile) -> None:
        """Read the file again: later and later, at the latest when it will be given up."""
        now_s = time.monotonic()
        pause_s = max(_LEAST_RETRY_S, now_s - file.changed_s)
        file.next_try_s = min(now_s + pause_s, file.changed_s + self._settings.give_up_s)
        file.tried = True

    def done(self, file: WatchedFile) -> None:
        """Leave the file alone until it changes."""
        self._waiting.pop(file.path, None)
        self._done[file.path] = file
        self._owner[file.signature] = file.path

    def _ready(self, file: WatchedFile, now_s: float) -> bool:
        quiet = now_s - file.changed_s >= self._settings.quiet_s
        return (file.complete or quiet) and now_s >= file.next_try_s

    def _follow(self, hint: Hint, now_s: float) -> None:
        if hint.old_path is not None:
            self._waiting.pop(hint.old_path, None)
        status = self._finder.status(hint.path)
        self._see(hint.path, status, now_s, complete=hint.complete)

    def _scan(self, now_s: float) -> None:
        found = set()
        for path, status in self._finder.find():
            found.add(path)
            self._see(path, status, now_s)
        for path in self._gone(found):
            self._see(path, None, now_s)

    def _gone(self, found: set[Path]) -> Iterator[Path]:
        yield from [path for path in self._waiting if path not in found]
        yield from [path for path in self._done if path not in found]

    def _see(
        self, path: Path, status: os.stat_result | None, now_s: float, *, complete: bool = False
    ) -> None:
        """Compare a file with what is known about it."""
        if status is None:
            self._lose(path)
            return
        signature = _signature(status)
        file = self._waiting.get(path) or self._done.get(path)
        if file is None:
            file = WatchedFile(path, signature, now_s, complete)
            known = self._done.get(self._owner.get(signature, path))
            if known is not None:  # one that is done has a new name
                file.delivered = known.delivered
                self.done(file)
            else:
                self._waiting[path] = file
        elif file.signature != signature:
            self._forget(file)
            same_file = file.signature[:2] == signature[:2]
            delivered = file.delivered if same_file else 0
            self._waiting[path] = WatchedFile(
                path, signature, now_s, complete, tried=file.tried, delivered=delivered
            )
        else:
            file.complete |= complete

    def _lose(self, path: Path) -> None:
        file = self._done.get(path)
        if file is not None:
            self._forget(file)
        waiting = self._waiting.get(path)
        if waiting is not None and not (waiting.complete or waiting.tried):
            del self._waiting[path]  # never finished, so nothing is lost

    def _forget(self, file: WatchedFile) -> None:
        self._done.pop(file.path, None)
        if self._owner.get(file.signature) == file.path:
            del self._owner[file.signature]


def _signature(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
