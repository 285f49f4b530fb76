"""When a file of an areaDetector file plugin is complete, by what the plugin's PVs say."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.sources.pv_board import PvState
from daemon.sources.pv_value import level_of, number_of, text_of

BUSY = ("Capture_RBV", "WriteFile_RBV")
NAME, COUNT, STATUS, MESSAGE = "FullFileName_RBV", "NumCaptured_RBV", "WriteStatus", "WriteMessage"
FIELDS = (NAME, COUNT, STATUS, MESSAGE, *BUSY)
"""The plugin's PVs, behind its prefix."""
SETTLE_S = 0.2
"""The plugin's PVs are not told in one message; and after capturing it may go on to write."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file as the plugin names it.

    `count` is how many images it captured into it, None where it does not tell; `problem` what it
    says has gone wrong.
    """

    name: str
    count: int | None = None
    problem: str = ""


class FilePlugin:
    """Follows the plugin: a file is complete when it neither captures nor writes any more.

    Levels count: `Acquire` may have fallen long before, and `Capture` falls before the file is
    written where the plugin buffers. A new name says that the file before is complete. While the
    plugin is not connected what it did last is taken to go on. Times are of the monotonic clock.
    """

    def __init__(self) -> None:
        self._states = dict.fromkeys(FIELDS, PvState())
        self._busy = dict.fromkeys(BUSY, False)
        self._named = False  # since it was connected
        self._name = ""
        self._is_new = False  # whether the file of this name has not been complete yet
        self._pending = self._captured = False
        self._complete: list[WrittenFile] = []
        self._due_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether files are being written, or are complete and have not been taken."""
        return any(self._busy.values()) or self._pending or bool(self._complete)

    def follow(self, field: str, state: PvState, now_s: float) -> str:
        """Take what a PV says.

        Returns:
            The name of a file that was there already, else an empty text.

        Raises:
            ValueError: the value cannot be used.
        """
        self._states[field] = state
        if not state.is_known:
            self._named &= field != NAME or state.connected
            return ""
        self._due_s = now_s + SETTLE_S
        if field == NAME:
            return self._follow_name(text_of(state.value))
        if field in BUSY:
            self._follow_level(field, level_of(state.value))
        return ""

    def take(self, now_s: float) -> list[WrittenFile]:
        """The files that are complete by now, in order."""
        if self._pending and not any(self._busy.values()) and now_s >= self._due_s:
            self._finish()
        complete, self._complete = self._complete, []
        return complete

    def _follow_name(self, name: str) -> str:
        first, self._named = not self._named, True
        if not name or name == self._name:
            return ""
        if self._pending and self._is_new:
            self._finish()  # the next file has been begun
        self._name = name
        self._is_new = not first or any(self._busy.values())
        self._pending |= self._is_new
        return "" if self._is_new else name

    def _follow_level(self, field: str, level: bool | None) -> None:
        if level is None:
            raise ValueError("is not a number; 1 is busy, 0 idle")
        if self._busy[field] and not level:
            self._pending = self._pending or bool(self._name)
        self._captured |= level and field == BUSY[0]
        self._busy[field] = level

    def _finish(self) -> None:
        problem = ""
        if level_of(self._states[STATUS].value):
            message = self._text(MESSAGE) or self._text(STATUS)
            problem = f"the plugin could not write it: {message}"
        self._complete.append(WrittenFile(self._name, self._count(), problem))
        self._pending = self._captured = self._is_new = False

    def _count(self) -> int | None:
        """Images that went into the file; single images are not counted."""
        if not self._captured:
            return None
        try:
            return int(number_of(self._states[COUNT].value)) or None
        except ValueError:
            return None

    def _text(self, field: str) -> str:
        state = self._states[field]
        if state.value is None:
            return ""
        try:
            return text_of(state.value, state.states)
        except ValueError:
            return ""
