"""An HDF5 file that is written row by row, survives `kill -9` at any time, and is resumed.

HDF5 keeps its bookkeeping in memory, so a file that a killed process had open may be unreadable.
Here HDF5 only makes the empty file, in which every row has its place, and the disk space is
reserved. Rows then go to their places as plain bytes, in any order, and a byte a row says that it
is complete. The file is a valid HDF5 file at any time; it gets its name when all rows are complete.
The price is that nothing is compressed: compressed rows would have no place before they are known.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from cade.errors import CadeError
from simulator.row_layout import WRITTEN, Settings, Table, offsets, unfinished_path
from simulator.row_start import check_free, locked, start

COMMIT_S = 1.0
"""Rows older than this are on the disk and marked as complete."""


class RowFile:
    """A row file in the making, locked against a second writer.

    Use it in a `with` block. Whatever ends the block, complete rows are kept for `resume`;
    `finish` gives the file its name.

    Args:
        path: of the finished file.
        kind: the file's `format` attribute.
        settings: what its content depends on.
        tables: its layout.
        resume: go on with an unfinished file, if there is one.

    Raises:
        UsageError: the name is taken, or the unfinished file was begun with other settings.
        CadeError: no room, no permission, or another process writes the file.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        settings: Settings,
        tables: Sequence[Table],
        *,
        resume: bool = False,
    ) -> None:
        self.path = path
        self._tables = {table.group: table for table in tables if table.rows}
        check_free(path, kind, settings, resume=resume)
        part = unfinished_path(path)
        if not part.exists():
            start(path, kind, settings, list(self._tables.values()))
        self._descriptor = locked(part)
        try:
            with h5py.File(part, "r", locking=False) as file:  # no size of it is wrong: HDF5 looks
                self._offsets = offsets(file, list(self._tables.values()))
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            self._close()
            raise CadeError(f"{part}: damaged ({error}); remove it and begin again") from error
        self._pending: list[int] = []
        self._committed_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor < 0:
            return
        try:
            with suppress(*([CadeError] if kind else [])):  # the first error is the one to hear of
                self.commit()
        finally:
            self._close()

    def missing(self, group: str) -> list[int]:
        """The rows of a table that are not complete."""
        table = self._tables.get(group)
        if table is None:
            return []
        flags = os.pread(self._descriptor, table.rows, self._offsets[table.path(WRITTEN)])
        return [row for row, flag in enumerate(flags) if not flag]

    def write(self, group: str, row: int, values: Mapping[str, NDArray[Any] | float]) -> None:
        """Put a row, which must have every column, into its place.

        Raises:
            CadeError: the disk does not take it.
        """
        table = self._tables[group]
        for column in table.columns:
            data = np.asarray(values[column.name], dtype=column.dtype)
            if data.shape != column.shape:
                raise ValueError(f"{column.name}: {data.shape} instead of {column.shape}")
            place = self._offsets[table.path(column.name)] + row * column.row_bytes
            self._put(data.tobytes(), place)
        self._pending.append(self._offsets[table.path(WRITTEN)] + row)
        if time.monotonic() - self._committed_s > COMMIT_S:
            self.commit()

    def commit(self) -> None:
        """Rows first, then the word that they are complete: neither a kill nor a power cut lies."""
        with self._explained():
            os.fdatasync(self._descriptor)
        for place in self._pending:
            self._put(b"\x01", place)
        self._pending.clear()
        self._committed_s = time.monotonic()

    def finish(self) -> None:
        """Give the complete file its name."""
        self.commit()
        left = sum(len(self.missing(group)) for group in self._tables)
        if left:
            raise RuntimeError(f"{self.path}: {left} rows are missing")
        with self._explained():
            os.fsync(self._descriptor)
            unfinished_path(self.path).rename(self.path)
            _sync_folder(self.path.parent)
        self._close()

    def _put(self, data: bytes, place: int) -> None:
        with self._explained():
            while data:
                done = os.pwrite(self._descriptor, data, place)
                data, place = data[done:], place + done

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CadeError(
                f"{unfinished_path(self.path)}: cannot be written ({error.strerror}); what is "
                "complete is kept: make room, then continue with --resume"
            ) from error

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
