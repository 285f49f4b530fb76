"""When a file is ready to be read, and how often it is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from cade.files.completeness import Stage
from daemon.settings import FolderSettings
from daemon.sources.file_events import FileEvents, Hint
from daemon.sources.file_finder import FileFinder, Sighting
from daemon.sources.file_sets import master_of
from daemon.sources.watched_file import Signature, WatchedFile, signature_of

_TICK_S = 0.1
_RESCAN_S = 5.0
"""With events, time between two looks for files whose events were lost."""
_SCAN_SHARE = 20
_POLL_SHARE = 4
"""Where that look itself takes long: at least so many times as long passes before the next one."""
_LEAST_RETRY_S = 0.25


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
        self._lost: set[Path] = set()
        self._apart: set[Path] = set()  # masters whose data files are read by themselves
        self._hints: list[Hint] = []
        self._next_scan_s = 0.0
        self._scan_s = 0.0
        # A network file system may not show a file for a moment.
        polls_s = 0.0 if self._events else 2 * settings.poll_interval_s
        self._absent_s = polls_s + settings.quiet_s

    def __enter__(self) -> FileWatch:
        """Start to watch, before the first look, so that no file falls in between."""
        if self._events is not None:
            self._events.__enter__()
        if self._settings.existing == "ignore":
            self._scan(time.monotonic())
            for file in list(self._waiting.values()):
                if file.stage().stage is Stage.GROWING:
                    file.only_new = True
                else:
                    self.done(file)
            self._apart.update(path for path in self._done if path.stem.endswith("_master"))
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
            for path in {*self._waiting, *self._lost}:
                self._see(path, self._finder.look(path), now_s)
        return [file for file in self._waiting.values() if self._ready(file, now_s)]

    def waits(self, file: WatchedFile) -> bool:
        """Whether the file is not done yet."""
        return self._waiting.get(file.path) is file

    def waits_in(self, folder: Path) -> bool:
        """Whether a file directly in this folder still waits."""
        return any(path.parent == folder for path in self._waiting)

    def unchanged(self, file: WatchedFile) -> bool:
        """Whether the file is what it was when last looked at; true as well if it is gone."""
        found = self._finder.look(file.path)
        return found is None or signature_of(found) == file.signature

    def gives_up(self, file: WatchedFile) -> bool:
        """Whether no further try is worth it: it has not changed for long, or it is gone."""
        now_s = time.monotonic()
        return self._is_gone(file, now_s) or now_s - file.changed_s >= self._settings.give_up_s

    def is_quiet(self, file: WatchedFile) -> bool:
        """Whether the file has not changed for `quiet_s`."""
        return time.monotonic() - file.changed_s >= self._settings.quiet_s

    def is_silent(self, file: WatchedFile, silence_s: float) -> bool:
        """Whether the file has not changed for so long that its writer is taken for dead."""
        return time.monotonic() - file.changed_s >= silence_s

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
        master = master_of(file.path)
        if master is not None and file.delivered and master not in self._done:
            self._apart.add(master)

    def _ready(self, file: WatchedFile, now_s: float) -> bool:
        if now_s < file.next_try_s:
            return False
        if file.lost_s is not None:
            return self._is_gone(file, now_s)
        if file.problem or self._awaits_master(file):
            return self.gives_up(file)
        quiet, stage = file.complete or self.is_quiet(file), file.stage().stage
        if stage is Stage.UNFINISHED:
            file.tried |= quiet
            return self.gives_up(file)
        return stage is not Stage.LOCKED and (quiet or stage is not Stage.UNKNOWN)

    def _awaits_master(self, file: WatchedFile) -> bool:
        master = master_of(file.path)
        return (
            master is not None
            and master not in self._apart
            and self._finder.is_named(master.name)
            and file.stage().stage is not Stage.GROWING
        )

    def _is_gone(self, file: WatchedFile, now_s: float) -> bool:
        return file.lost_s is not None and now_s - file.lost_s >= self._absent_s

    def _follow(self, hint: Hint, now_s: float) -> None:
        if hint.old_path is not None:
            moved = self._waiting.get(hint.old_path)
            if moved is not None and not moved.delivered:
                del self._waiting[hint.old_path]
        self._see(hint.path, self._finder.look(hint.path), now_s, complete=hint.complete)

    def _scan(self, now_s: float) -> None:
        found = set()
        for path, sighting in self._finder.find():
            found.add(path)
            self._see(path, sighting, now_s)
        for path in self._gone(found):
            self._see(path, None, now_s)

    def _gone(self, found: set[Path]) -> Iterator[Path]:
        yield from [path for path in self._waiting if path not in found]
        yield from [path for path in self._done if path not in found]

    def _see(
        self, path: Path, sighting: Sighting | None, now_s: float, *, complete: bool = False
    ) -> None:
        """Compare a file with what is known about it."""
        known = self._waiting.get(path) or self._done.get(path)
        if sighting is None:
            if known is not None:
                self._lose(known, now_s)
            return
        signature = signature_of(sighting)
        if known is not None and known.signature == signature and known.problem == sighting.problem:
            known.complete |= complete
            known.lost_s = None
            self._lost.discard(path)
            return
        self._lost.discard(path)
        file = WatchedFile(path, signature, now_s, sighting.problem, complete)
        if known is None:
            self._welcome(file)
        else:
            self._forget(known)
            file.tried = known.tried
            if known.signature[:2] == signature[:2] and (known.lost_s is None or known.followed):
                file.inherit(known)
            self._waiting[path] = file
        self._join(file)

    def _welcome(self, file: WatchedFile) -> None:
        """A name that was not known."""
        before = self._done.get(self._owner.get(file.signature, file.path))
        if before is not None:  # one that is done has a new name
            file.inherit(before)
            self.done(file)
            return
        self._waiting[file.path] = file
        for other in list(self._waiting.values()):
            same = other.signature[:2] == file.signature[:2]
            if same and other.delivered and self._finder.look(other.path) is None:
                file.inherit(other)  # one that is being read has a new name
                del self._waiting[other.path]

    def _join(self, file: WatchedFile) -> None:
        """A data file belongs to its master, as soon as that is there; it tells it of changes."""
        if file.path.stem.endswith("_master"):
            known = (*self._waiting.values(), *self._done.values())
            parts = [part for part in known if master_of(part.path) == file.path]
            if any(part.delivered for part in parts):
                self._apart.add(file.path)
            if file.path in self._apart:
                self.done(file)
                return
            for part in parts:
                self._done[part.path] = self._waiting.pop(part.path, part)
            return
        place = master_of(file.path)
        if place is None or place in self._apart or file.path not in self._waiting:
            return
        master = self._waiting.get(place) or self._done.get(place)
        if master is not None and master.lost_s is None:
            self._done[file.path] = self._waiting.pop(file.path)
            master.changed_s, master.next_try_s = file.changed_s, 0.0
            self._done.pop(place, None)
            self._waiting[place] = master

    def _lose(self, file: WatchedFile, now_s: float) -> None:
        """A file seems to be gone; forgotten only after a while."""
        if file.lost_s is None:
            file.lost_s = now_s
            file.next_try_s = 0.0
            self._lost.add(file.path)
        if not self._is_gone(file, now_s):
            return
        self._lost.discard(file.path)
        if file.path in self._done:
            self._forget(file)
        elif not (file.complete or file.tried or file.delivered):
            del self._waiting[file.path]  # never finished, so nothing is lost

    def _forget(self, file: WatchedFile) -> None:
        self._done.pop(file.path, None)
        if self._owner.get(file.signature) == file.path:
            del self._owner[file.signature]
