"""Images out of NumPy's .npy files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cade.files.stored import StoredImage, UnreadableFile, check_layout, native
from cade.files.tiff import planes
from cade.frames import Image


def read_npy(path: Path, *, start: int = 0) -> Iterator[StoredImage]:
    """Images `(H, W)` of a 2-D or 3-D array, from number `start` on.

    Raises:
        UnreadableFile: truncated, or not images.
    """
    with path.open("rb") as file:
        shape, column_major, dtype = _header(path, file)
        check_layout(path, shape, dtype)
        size = dtype.itemsize * math.prod(shape)
        if path.stat().st_size - file.tell() < size:
            raise UnreadableFile(path, f"is truncated: shape {shape} needs {size} bytes")
        # Not memory-mapped: a file that shrinks while it is mapped kills the process.
        plane = shape[-2:]
        if column_major:
            stack = _exactly(path, file, dtype, shape[::-1]).transpose()
            yield from planes(path, stack, start)
            return
        file.seek(start * dtype.itemsize * math.prod(plane), 1)
        for _ in range(start, shape[0] if len(shape) == 3 else 1):
            yield StoredImage(native(_exactly(path, file, dtype, plane)))


def _header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise UnreadableFile(path, f"has .npy version {version}, which holds no plain images")


def _exactly(
    path: Path, file: BinaryIO, dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> Image:
    size = math.prod(shape)
    data = np.fromfile(file, dtype, size)
    if data.size < size:
        raise UnreadableFile(path, "became shorter while it was read")
    return data.reshape(shape)
