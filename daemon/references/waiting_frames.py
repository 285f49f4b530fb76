"""Samples that wait for a reference: in memory up to a budget, then on the disk up to another."""

from __future__ import annotations

import dataclasses
import tempfile
import weakref
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from cade.errors import CadeError
from cade.frames import Frame

_NOTHING = np.empty(0)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A frame that waits.

    Without `place` its pixels are in `frame`, else at that place in the spool, and `frame` has all
    but the pixels.
    """

    frame: Frame
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    byte_count: int
    place: int | None = None


class WaitingFrames:
    """Frames by series, in the order in which they came. Used by one thread.

    The spool is a file without a name, so that nothing stays behind whatever happens; it is made
    with the first frame that needs it.

    Args:
        memory_bytes: pixels kept in memory.
        spool_bytes: size of the spool.
        folder: where the spool is.
    """

    def __init__(self, memory_bytes: int, spool_bytes: int, folder: Path) -> None:
        self._memory_left, self._spool_bytes, self._folder = memory_bytes, spool_bytes, folder
        self._series: dict[str, dict[Held, None]] = {}
        self._spool: IO[bytes] | None = None
        self._spool_end = 0
        self._free: defaultdict[int, list[int]] = defaultdict(list)  # places by their size

    def hold(self, frame: Frame) -> str:
        """Take a frame; empty, or why there is no room for it."""
        data = frame.data
        if data.nbytes <= self._memory_left:
            # A copy: the frame may be a view of a larger buffer, which would stay.
            kept = dataclasses.replace(frame, data=np.array(data))
            self._memory_left -= data.nbytes
            held = Held(kept, data.shape, data.dtype, data.nbytes)
        else:
            place = self._place(data.nbytes)
            if place is None:
                return f"the {self._spool_bytes} bytes of references.wait_spool_bytes are full"
            try:
                self._write(place, np.ascontiguousarray(data).tobytes())
            except OSError as error:
                self._free[data.nbytes].append(place)
                return f"the spool in {self._folder} cannot be written ({error.strerror})"
            bare = dataclasses.replace(frame, data=_NOTHING)
            held = Held(bare, data.shape, data.dtype, data.nbytes, place)
        self._series.setdefault(frame.series_id, {})[held] = None
        return ""

    def of(self, series_id: str) -> tuple[Held, ...]:
        """What waits of a series, in order."""
        return tuple(self._series.get(series_id, ()))

    def load(self, held: Held) -> Frame:
        """The frame with its pixels; it goes on waiting.

        Raises:
            CadeError: the spool cannot be read.
        """
        if held.place is None or self._spool is None:
            return held.frame
        try:
            self._spool.seek(held.place)
            content = self._spool.read(held.byte_count)
            data = np.frombuffer(content, held.dtype).reshape(held.shape)
        except (OSError, ValueError) as error:
            raise CadeError(f"{self._folder}: the spool cannot be read ({error})") from None
        return dataclasses.replace(held.frame, data=data)

    def drop(self, held: Held) -> None:
        """It waits no longer; its room is free."""
        series = self._series[held.frame.series_id]
        del series[held]
        if not series:
            del self._series[held.frame.series_id]
        if held.place is None:
            self._memory_left += held.byte_count
        else:
            self._free[held.byte_count].append(held.place)
        if not self._series and self._spool is not None:
            self._spool.truncate(0)
            self._spool_end = 0
            self._free.clear()

    def __len__(self) -> int:
        return sum(map(len, self._series.values()))

    def _place(self, size: int) -> int | None:
        """Where so many bytes fit: where others of the same size have left, or at the end."""
        if self._free[size]:
            return self._free[size].pop()
        if self._spool_end + size > self._spool_bytes:
            return None
        self._spool_end += size
        return self._spool_end - size

    def _write(self, place: int, content: bytes) -> None:
        if self._spool is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._spool = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._spool.close)
        self._spool.seek(place)
        if self._spool.write(content) != len(content):
            raise OSError(28, "No space left on device")
