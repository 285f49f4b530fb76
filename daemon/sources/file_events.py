"""Hints from inotify: which files were closed after writing, renamed into place, or created."""

from __future__ import annotations

import logging
import os
import queue
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

from cade.errors import CadeError

# Stopping while events come in is reported as an ERROR of the library; nothing is wrong then, and
# the folder is looked through anyway.
logging.getLogger("watchdog.observers.inotify").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Hint:
    """Something happened to a file. `complete`: its writer has closed or renamed it."""

    path: Path
    complete: bool
    old_path: Path | None = None


class FileEvents(FileSystemEventHandler):
    """Watches a folder and its subfolders, symbolic links excepted; a context manager.

    Events can be lost (a burst overflows the kernel's queue; a folder fills before it is
    watched), so whoever uses the hints also looks for himself from time to time.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()
        # With full events a rename from outside the folder is a rename, not a creation.
        self._observer = InotifyObserver(generate_full_events=True)

    def __enter__(self) -> FileEvents:
        """Start to watch.

        Raises:
            CadeError: the kernel allows no (more) watches.
        """
        try:
            self._observer.schedule(self, str(self._root), recursive=True)
            self._observer.start()
        except OSError as error:
            self._close()
            raise CadeError(
                f"{self._root}: cannot be watched ({error.strerror}); raise "
                "fs.inotify.max_user_watches, or set watch = 'polling'"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; no thread stays."""
        self._close()

    def _close(self) -> None:
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
        else:  # it never started, but the thread that reads from the kernel has
            self._observer.on_thread_stop()

    def take(self, timeout_s: float) -> list[Hint]:
        """All hints there are; waits that long for the first one."""
        hints: list[Hint] = []
        try:
            hints.append(self._hints.get(block=timeout_s > 0, timeout=timeout_s))
            while True:
                hints.append(self._hints.get_nowait())
        except queue.Empty:
            return hints

    def on_created(self, event: FileSystemEvent) -> None:
        """Called by watchdog, in its thread."""
        self._put(event.src_path, event, complete=False)

    def on_closed(self, event: FileSystemEvent) -> None:
        """Called by watchdog, in its thread."""
        self._put(event.src_path, event, complete=True)

    def on_moved(self, event: FileSystemEvent) -> None:
        """Called by watchdog, in its thread; a path outside the folder is empty."""
        if event.dest_path:
            self._put(event.dest_path, event, complete=True)

    def _put(self, path: bytes | str, event: FileSystemEvent, *, complete: bool) -> None:
        if event.is_directory:
            return
        old = os.fsdecode(event.src_path) if event.dest_path else ""
        self._hints.put(Hint(Path(os.fsdecode(path)), complete, Path(old) if old else None))
