"""Odin LiveView as LiveViewPlugin::pass_live_frame of odin-detector/odin-data writes it.

The members are in the order in which it adds them, without spaces (rapidjson's Writer), the shape
as texts; bslz4 pixels are the detector's HDF5 chunks, handed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from tests.golden.hdf5_chunk import hdf5_chunk


def live_view(
    image: NDArray[Any], frame: int, acquisition: str, algorithm: str | None = None
) -> list[bytes]:
    """Header and blob."""
    blob = image.tobytes() if algorithm is None else hdf5_chunk(image, algorithm)
    name = "none" if algorithm is None else algorithm.upper()
    header = (
        f'{{"frame_num":{frame},"acquisition_id":"{acquisition}","dtype":"{image.dtype.name}",'
        f'"dsize":{len(blob)},"dataset":"data","compression":"{name}",'
        f'"shape":["{image.shape[0]}","{image.shape[1]}"]}}'
    )
    return [header.encode(), blob]


def series(
    acquisition: str, images: Sequence[NDArray[Any]], algorithm: str | None = "bslz4"
) -> list[list[bytes]]:
    """Every fifth frame, as a live view shows them."""
    return [
        live_view(image, 40 + 5 * number, acquisition, algorithm)
        for number, image in enumerate(images)
    ]
