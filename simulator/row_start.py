"""How a row file begins: only where nothing is overwritten, and with its disk space reserved."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py

from cade.errors import CadeError, UsageError
from simulator.row_layout import (
    WRITTEN,
    Settings,
    Table,
    create,
    differences,
    offsets,
    unfinished_path,
)
from simulator.stored_rows import stored_settings

_SPARE = 1 << 15
"""Bytes, for HDF5's own bookkeeping."""


def check_free(path: Path, kind: str, settings: Settings, *, resume: bool) -> None:
    """Refuse a name that is taken by anything but our own unfinished file, to be resumed.

    Raises:
        UsageError: says which settings differ, where that is what is wrong.
    """
    ours = json.loads(json.dumps(settings))
    if path.exists():
        theirs = stored_settings(path, kind) if resume else None
        unlike = f" with other settings ({differences(theirs, ours)})" if theirs else ""
        raise UsageError(
            f"{path} exists already{unlike}; choose another output, or remove it first"
        )
    part = unfinished_path(path)
    if not part.exists():
        return
    begun = stored_settings(part, kind)
    if begun is None:
        raise UsageError(f"{part} is not an unfinished {kind}; choose another output, or remove it")
    if not resume:
        raise UsageError(f"{part} is unfinished; continue it with --resume, or remove it")
    if begun != ours:
        raise UsageError(
            f"{part} was begun with other settings ({differences(begun, ours)}); "
            "repeat those, or choose another output"
        )


def start(path: Path, kind: str, settings: Settings, tables: Sequence[Table]) -> None:
    """An empty file under its unfinished name, with all of its disk space reserved."""
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = sum(table.total_bytes for table in tables)
        _check_room(path, needed)
        try:
            _try_room(fresh, needed)
            create(fresh, kind, settings, tables)
            with h5py.File(fresh, "r") as file:
                places = offsets(file, tables)
            with fresh.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, fresh.stat().st_size)
                for table in tables:
                    stream.seek(places[table.path(WRITTEN)])
                    stream.write(bytes(table.rows))
                stream.flush()
                os.fsync(stream.fileno())
            if unfinished_path(path).exists():
                raise CadeError(f"{path}: another process has begun it; wait for it, or end it")
            fresh.rename(unfinished_path(path))
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        cause = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise CadeError(
            f"{path}: cannot be written ({cause or error}); choose an output in a folder that this "
            "user can write and that has room"
        ) from error


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise CadeError(
            f"{path}: needs {needed / 1e9:.3g} GB, and its disk has {free / 1e9:.3g} GB free; "
            "make room, choose another disk, or ask for fewer or smaller"
        )


def _try_room(fresh: Path, needed: int) -> None:
    """Find out about quotas before HDF5 does: it cannot bear a full disk (decision 0011)."""
    with fresh.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, needed + _SPARE)


def locked(part: Path) -> int:
    """A descriptor of an unfinished file that no other process writes.

    Raises:
        CadeError: another one does, or it cannot be opened.
    """
    try:
        descriptor = os.open(part, os.O_RDWR)
    except OSError as error:
        raise CadeError(f"{part}: cannot be written ({error.strerror}); choose another") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise CadeError(f"{part}: cannot be locked ({error.strerror})") from error
        raise CadeError(f"{part}: another process is writing it; wait for it, or end it") from None
    return descriptor
