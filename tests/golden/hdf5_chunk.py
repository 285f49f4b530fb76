"""Image bytes as the HDF5 filters compress them, which is how detectors do."""

from __future__ import annotations

import io
from typing import Any

import h5py
import hdf5plugin
from numpy.typing import NDArray


def hdf5_chunk(image: NDArray[Any], algorithm: str) -> bytes:
    """The one chunk of a data set that HDF5 wrote with the filter "bslz4" or "lz4"."""
    plugin = hdf5plugin.Bitshuffle(cname="lz4") if algorithm == "bslz4" else hdf5plugin.LZ4()
    with h5py.File(io.BytesIO(), "w") as file:
        stored = file.create_dataset("a", data=image, chunks=image.shape, compression=plugin)
        return bytes(stored.id.read_direct_chunk((0, 0))[1])
