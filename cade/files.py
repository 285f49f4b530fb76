"""Images out of files: TIFF, NumPy .npy and HDF5/NeXus, by the file's ending.

HDF5 layouts and roles are described in `cade.nexus`, metadata in `cade.nexus_beamline`.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile

from cade.errors import CadeError
from cade.frames import Beamline, Image
from cade.nexus import read_hdf5
from cade.nexus_beamline import read_hdf5_beamline
from cade.stored import StoredImage, UnreadableFile, check_layout, native

__all__ = ["SUFFIXES", "StoredImage", "UnreadableFile", "read", "read_beamline", "read_frames"]

# tifffile logs damage and reads on; `read` reports it, once, as an error that names the file.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

Reader = Callable[[Path], Iterator[StoredImage]]


def read(path: Path) -> Iterator[StoredImage]:
    """The images of a file in the order it stores them, one in memory at a time.

    Args:
        path: a TIFF (one or many pages), `.npy` (2-D or 3-D) or HDF5/NeXus file.

    Returns:
        An iterator of images `(H, W)`, with role and time where the file gives them. Images
        before a damaged place are delivered before the error is raised.

    Raises:
        UnreadableFile: missing, damaged, truncated, unfinished, empty, or not images.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UnreadableFile(path, f"is not a file that can be read ({', '.join(SUFFIXES)})")
    try:
        yield from reader(path)
    except CadeError:
        raise
    except FileNotFoundError as error:
        raise UnreadableFile(path, "does not exist") from error
    # tifffile, its codecs and h5py raise almost every built-in exception on damaged bytes.
    except Exception as error:
        raise UnreadableFile(path, f"cannot be read ({_one_line(error)})") from error


def read_frames(path: Path) -> Iterator[Image]:
    """The pixels `(H, W)` alone of `read`."""
    return (image.data for image in read(path))


def read_beamline(path: Path) -> Beamline:
    """What a file says about the optics; all None for formats that cannot say it.

    Raises:
        UnreadableFile: an HDF5 file that cannot be opened, or states a value without a unit or
            in one that is not known.
    """
    if path.suffix.lower() not in _HDF5_SUFFIXES:
        return Beamline()
    try:
        return read_hdf5_beamline(path)
    except FileNotFoundError as error:
        raise UnreadableFile(path, "does not exist") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise UnreadableFile(path, f"cannot be read ({_one_line(error)})") from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _read_tiff(path: Path) -> Iterator[StoredImage]:
    # is_ome: an OME header may name other files, which must not be opened on its say-so.
    with tifffile.TiffFile(path, is_ome=False) as tiff:
        if len(tiff.pages) == 0:
            raise UnreadableFile(path, "holds no page; it may be unfinished")
        _check_page_chain(path, tiff)
        whole = tiff.series[0]
        if len(tiff.pages) == 1 and whole.size > tiff.pages[0].size:
            # ImageJ and others describe a whole uncompressed stack with its first page only.
            check_layout(path, whole.shape, np.dtype(whole.dtype))
            if whole.nbytes > tiff.filehandle.size:
                raise UnreadableFile(path, f"is truncated: shape {whole.shape} does not fit in it")
            yield from _planes(path, whole.asarray())
            return
        for page in tiff.pages:
            if len(page.shape) != 2:
                raise UnreadableFile(
                    path, f"has colour pages {page.shape}; store one grey image in each page"
                )
            check_layout(path, page.shape, np.dtype(page.dtype))
            yield StoredImage(native(page.asarray()))


def _check_page_chain(path: Path, tiff: tifffile.TiffFile) -> None:
    """Every page names the next; tifffile silently stops at a next one beyond the end."""
    last, layout, file = tiff.pages[len(tiff.pages) - 1], tiff.tiff, tiff.filehandle
    file.seek(last.offset)
    (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(tags * layout.tagsize, 1)
    (following,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    if following != 0:
        raise UnreadableFile(path, f"is truncated after page {len(tiff.pages)}")


def _planes(path: Path, stack: Image) -> Iterator[StoredImage]:
    check_layout(path, stack.shape, stack.dtype)
    for plane in stack if stack.ndim == 3 else stack[np.newaxis]:
        yield StoredImage(native(plane))


def _read_npy(path: Path) -> Iterator[StoredImage]:
    with path.open("rb") as file:
        shape, column_major, dtype = _npy_header(path, file)
        check_layout(path, shape, dtype)
        size = dtype.itemsize * math.prod(shape)
        if path.stat().st_size - file.tell() < size:
            raise UnreadableFile(path, f"is truncated: shape {shape} needs {size} bytes")
        # Not memory-mapped: a file that shrinks while it is mapped kills the process.
        plane = shape[-2:]
        if column_major:
            stack = _exactly(path, file, dtype, shape[::-1]).transpose()
            yield from _planes(path, stack)
            return
        for _ in range(shape[0] if len(shape) == 3 else 1):
            yield StoredImage(native(_exactly(path, file, dtype, plane)))


def _npy_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
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


_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx")
_READERS: dict[str, Reader] = {
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
    ".npy": _read_npy,
    **dict.fromkeys(_HDF5_SUFFIXES, read_hdf5),
}
SUFFIXES = tuple(_READERS)
"""File endings that `read` knows, in lower case."""
