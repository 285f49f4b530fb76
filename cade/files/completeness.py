"""Whether a file is finished, as far as its own header and its writer's lock tell."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import stat
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cade.files.edf_cbf_headers import cbf_end, edf_end
from cade.files.hdf5_superblock import read_superblock
from cade.files.stored import Unfinished
from cade.files.tiff_directories import data_end

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx")


class Stage(Enum):
    """How far a file is."""

    COMPLETE = auto()  # all that its header announces is there
    UNKNOWN = auto()  # nothing contradicts that it is complete
    UNFINISHED = auto()  # something that its header announces is missing
    LOCKED = auto()  # an HDF5 program has it open for writing
    GROWING = auto()  # it is written in SWMR mode, or its writer was killed in that mode


@dataclass(frozen=True, slots=True)
class Completeness:
    """A stage, and in words what is missing."""

    stage: Stage
    problem: str = ""


def completeness(path: Path) -> Completeness:
    """What the first bytes, the length and the lock of a file say, by its ending.

    A file with a hole (a writer that has reserved the place, or writes it out of order; TIFF,
    `.npy`, EDF, CBF) counts as unfinished. One whose last pixels are all zero is not said to be
    complete: reserved space reads so.

    Raises:
        OSError: it is gone, cannot be opened, or is not a file.
    """
    suffix = path.suffix.lower()
    # Nothing but a file is read: opening a pipe would wait for its writer.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        length = status.st_size
        if length == 0:
            return Completeness(Stage.UNFINISHED, "is empty")
        if suffix in HDF5_SUFFIXES:
            return _of_hdf5(file, length)
        try:
            end = _end(suffix, file, length)
        except Unfinished as missing:
            return Completeness(Stage.UNFINISHED, str(missing))
        if _has_hole(file, length):
            return Completeness(Stage.UNFINISHED, "has a hole, where nothing has been written yet")
        if end is None:
            return Completeness(Stage.UNKNOWN)
        file.seek(max(0, end - 64))
        written = any(file.read(min(64, end)))
        return Completeness(Stage.COMPLETE if written else Stage.UNKNOWN)


def is_locked(file: BinaryIO) -> bool:
    """Whether an HDF5 program has the file open for writing (not in SWMR mode).

    The lock is tried for an instant only, and reading goes without: a reader that held it would
    make the program fail that opens the file for writing in that moment.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    return False


def _of_hdf5(file: BinaryIO, length: int) -> Completeness:
    if is_locked(file):
        return Completeness(Stage.LOCKED, "is open for writing in another program")
    block = read_superblock(file)
    if block is None:
        return Completeness(Stage.UNFINISHED, "does not begin as HDF5; it may be unfinished")
    if length < block.end:
        problem = f"is truncated: it has {length} bytes of {block.end}"
        return Completeness(Stage.UNFINISHED, problem)
    if block.swmr:
        return Completeness(Stage.GROWING, "is being written (SWMR)")
    if block.writing:
        problem = "is open for writing in another program, or that program was killed"
        return Completeness(Stage.UNFINISHED, problem)
    return Completeness(Stage.COMPLETE if block.flags_kept else Stage.UNKNOWN)


def _end(suffix: str, file: BinaryIO, length: int) -> int | None:
    if suffix in (".tif", ".tiff"):
        return data_end(file, length)
    if suffix == ".npy":
        return _npy_end(file, length)
    if suffix == ".edf":
        return edf_end(file, length)
    if suffix == ".cbf":
        return cbf_end(file, length)
    return None


def _npy_end(file: BinaryIO, length: int) -> int | None:
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            return None
        reader = np.lib.format.read_array_header_1_0
        if version == (2, 0):
            reader = np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(file)
    except ValueError as error:
        raise Unfinished("does not begin as .npy; it may be unfinished") from error
    end = file.tell() + dtype.itemsize * math.prod(shape)
    if end > length:
        raise Unfinished(f"is truncated: it has {length} bytes of {end}")
    return end


def _has_hole(file: BinaryIO, length: int) -> bool:
    handle = file.fileno()
    before = os.lseek(handle, 0, os.SEEK_CUR)
    try:
        return os.lseek(handle, 0, os.SEEK_HOLE) < length
    except OSError:  # a file system that does not know
        return False
    finally:
        os.lseek(handle, before, os.SEEK_SET)
