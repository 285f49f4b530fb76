"""Images that describe a detector's pixels, out of files: bad-pixel mask, gain, flat field."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cade.errors import CadeError
from cade.files import read_frames
from cade.files.nexus import image_datasets
from cade.files.nexus_file import NexusFile
from cade.files.stored import check_layout
from cade.frames import Image

PLACES = {
    "mask": ("pixel_mask", "mask"),
    "gain": ("gain", "gain_map"),
    "flatfield": ("flatfield",),
}
"""Names of these images in HDF5, below the folders of `_FOLDERS`."""
_FOLDERS = ("instrument/detector/", "instrument/detector/detectorSpecific/", "")
_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx")


def read_map(path: Path, name: str) -> Image:
    """The one image `(H, W)` of a file, for `detector.{name}`.

    Whatever `cade.files` reads; HDF5 also where DECTRIS master files and NXdetector have such an
    image, before their frames. Truth values count as 0 and 1.

    Raises:
        CadeError: a file that cannot be read, or holds no image or several.
    """
    try:
        images = _images(path, name)
        if len(images) != 1:
            several = "several images" if images else "no image"
            raise CadeError(f"{path}: holds {several}; name a file with one")
        image = images[0].astype(np.uint8) if images[0].dtype == np.bool_ else images[0]
        check_layout(path, image.shape, image.dtype)
    except CadeError as error:
        raise CadeError(f"detector.{name}: {error}") from None
    except FileNotFoundError:
        raise CadeError(f"detector.{name}: {path}: does not exist") from None
    # tifffile and h5py raise almost every built-in exception on damaged bytes.
    except Exception as error:
        text = " ".join(str(error).split())
        raise CadeError(f"detector.{name}: {path}: cannot be read ({text})") from error
    return image


def _images(path: Path, name: str) -> list[Image]:
    """The file's images, at most two: enough to see that there is not one."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _planes(np.load(path, allow_pickle=False))
    if suffix in _HDF5_SUFFIXES:
        return _planes(_from_hdf5(path, name))
    if suffix in (".tif", ".tiff"):
        import tifffile

        with tifffile.TiffFile(path, is_ome=False) as tiff:
            return [page.asarray() for page in tiff.pages[:2]]
    return list(itertools.islice(read_frames(path), 2))


def _from_hdf5(path: Path, name: str) -> NDArray[Any]:
    with NexusFile(path) as nexus:
        for folder, place in itertools.product(_FOLDERS, PLACES[name]):
            found = nexus.dataset(folder + place)
            if found is not None:
                return np.asarray(found[()])
        dataset, _ = next(image_datasets(nexus))
        return np.asarray(dataset[:2] if dataset.ndim == 3 else dataset[()])


def _planes(array: NDArray[Any]) -> list[Image]:
    if array.ndim not in (2, 3) or array.dtype.kind not in "buif":
        raise ValueError(f"{array.dtype} of shape {array.shape} is no image")
    return [array] if array.ndim == 2 else list(array[:2])
