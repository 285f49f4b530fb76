"""Images out of files: TIFF, NumPy .npy, HDF5/NeXus, EDF and CBF, by the file's ending.

HDF5 layouts and roles are described in `cade.files.nexus`, metadata in
`cade.files.nexus_beamline` and `cade.files.edf_cbf`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cade.errors import CadeError
from cade.files.completeness import HDF5_SUFFIXES
from cade.files.edf_cbf import SUFFIXES as EDF_CBF_SUFFIXES
from cade.files.edf_cbf import read_edf_cbf, read_edf_cbf_beamline, read_edf_cbf_time
from cade.files.nexus import read_hdf5, read_hdf5_time
from cade.files.nexus_beamline import read_hdf5_beamline
from cade.files.npy import read_npy
from cade.files.stored import StoredImage, UnreadableFile
from cade.files.tiff import read_tiff, read_tiff_time
from cade.frames import Beamline, Image

__all__ = [
    "SUFFIXES",
    "StoredImage",
    "UnreadableFile",
    "read",
    "read_beamline",
    "read_frames",
    "read_time",
]

TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (*TIFF_SUFFIXES, ".npy", *HDF5_SUFFIXES, *EDF_CBF_SUFFIXES)
"""File endings that `read` knows, in lower case."""


def read(path: Path, *, start: int = 0, within: Path | None = None) -> Iterator[StoredImage]:
    """The images of a file in the order it stores them, one in memory at a time.

    Args:
        path: a TIFF (one or many pages), `.npy` (2-D or 3-D), HDF5/NeXus, EDF or CBF file.
        start: so many images are left out.
        within: links of an HDF5 file to others must not leave this folder.

    Returns:
        An iterator of images `(H, W)`, with role and time where the file gives them. Images
        before a damaged place are delivered before the error is raised.

    Raises:
        UnreadableFile: missing, damaged, truncated, unfinished, empty, or not images. Its `index`
            says which image where only one is damaged.
    """
    suffix = path.suffix.lower()
    reader: Callable[..., Iterator[StoredImage]]
    if suffix in TIFF_SUFFIXES:
        reader = read_tiff
    elif suffix == ".npy":
        reader = read_npy
    elif suffix in HDF5_SUFFIXES:
        reader = partial(read_hdf5, within=within)
    elif suffix in EDF_CBF_SUFFIXES:
        reader = read_edf_cbf
    else:
        raise UnreadableFile(path, f"is not a file that can be read ({', '.join(SUFFIXES)})")
    try:
        yield from reader(path, start=start)
    except CadeError:
        raise
    except FileNotFoundError as error:
        raise UnreadableFile(path, "does not exist") from error
    # tifffile, its codecs, fabio and h5py raise almost every built-in exception on damaged bytes.
    except Exception as error:
        raise UnreadableFile(path, f"cannot be read ({_one_line(error)})") from error


def read_frames(path: Path) -> Iterator[Image]:
    """The pixels `(H, W)` alone of `read`."""
    return (image.data for image in read(path))


def read_beamline(path: Path, *, diffuser: str = "", within: Path | None = None) -> Beamline:
    """What a file says about the optics; all None for formats that cannot say it.

    Args:
        path: the file.
        diffuser: where a NeXus file has the position of the diffuser's motor.
        within: links of an HDF5 file to others must not leave this folder.

    Raises:
        UnreadableFile: a file that cannot be opened, or states a value without a unit or in one
            that is not known.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in HDF5_SUFFIXES:
            return read_hdf5_beamline(path, diffuser=diffuser, within=within)
        if suffix in EDF_CBF_SUFFIXES:
            return read_edf_cbf_beamline(path)
    except CadeError:
        raise
    except FileNotFoundError as error:
        raise UnreadableFile(path, "does not exist") from error
    except Exception as error:
        raise UnreadableFile(path, f"cannot be read ({_one_line(error)})") from error
    return Beamline()


def read_time(path: Path, *, within: Path | None = None) -> float | None:
    """When the first image was taken by the file's own header [s, Unix time].

    None where it does not say, or cannot be read.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in TIFF_SUFFIXES:
            return read_tiff_time(path)
        if suffix in HDF5_SUFFIXES:
            return read_hdf5_time(path, within=within)
        if suffix in EDF_CBF_SUFFIXES:
            return read_edf_cbf_time(path)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, reading will say so
        return None
    return None


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
