"""An image from the bytes of its pixels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cade.wire import fields
from cade.wire.codec import Buffer, WireError
from cade.wire.compression import decompress_any


def decode_blob(
    blob: memoryview,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    max_bytes: int,
    *,
    compression: str | None = None,
    element_size: int | None = None,
) -> NDArray[Any]:
    """`(H, W)` image of a part of a message that holds nothing else.

    Args:
        blob: the bytes, row after row.
        shape: `(H, W)`.
        dtype: of the pixels, with their byte order.
        max_bytes: largest image.
        compression: "bslz4" or "lz4", with or without their header.
        element_size: what bslz4 shuffled; the pixels' size if not given.

    Raises:
        WireError: the sizes contradict each other, or the limit.
    """
    size = fields.image_bytes(shape, dtype, max_bytes)
    if compression is not None:
        data = decompress_any(blob, compression, element_size or dtype.itemsize, size)
        return native_image(data, shape, dtype)
    if len(blob) != size:
        raise WireError(f"the image's data has {len(blob)} bytes, not {size}")
    return native_image(blob, shape, dtype)


def native_image(
    data: Buffer | NDArray[np.uint8],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    order: Literal["C", "F"] = "C",
) -> NDArray[Any]:
    """`(H, W)`, read-only; a view of the data, copied only to change the byte order."""
    image = np.frombuffer(data, dtype).reshape(shape, order=order)
    if not dtype.isnative:
        image = image.astype(dtype.newbyteorder("="))
    image.flags.writeable = False
    return image


def blob_of(image: NDArray[Any]) -> memoryview:
    """The bytes of an image, row after row, for a part of a message."""
    return np.ascontiguousarray(image).reshape(-1).view(np.uint8).data
