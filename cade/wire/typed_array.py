"""Images in CBOR: RFC 8746 arrays, and DECTRIS's tag 56500 for compressed bytes."""

from __future__ import annotations

from typing import Any, Literal

import cbor2
import numpy as np
from numpy.typing import NDArray

from cade.wire.cbor import Tag
from cade.wire.codec import WireError
from cade.wire.compression import Compression, compress, decompress
from cade.wire.fields import image_bytes, image_shape, shown
from cade.wire.quadruple import FLOAT128_BYTES, float128_as_float64
from cade.wire.raw_image import native_image

ROW_MAJOR, COLUMN_MAJOR, COMPRESSED = 40, 1040, 56500

# RFC 8746 table 1; 68 is uint8 with clamped arithmetic.
DTYPES = {
    64: "|u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "|u1", 69: "<u2", 70: "<u4", 71: "<u8",
    72: "|i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8",
    80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8",
}  # fmt: skip
FLOAT128: dict[int, Literal["big", "little"]] = {83: "big", 87: "little"}
"""The types that numpy has not."""

_TAGS = {dtype: tag for tag, dtype in reversed(DTYPES.items())}


def decode_image(item: object, max_bytes: int) -> NDArray[Any]:
    """`(H, W)` image of a tag 40 or 1040 item, in native byte order and read-only.

    An uncompressed little-endian image is a view of the message. 128-bit floats become float64.

    Raises:
        WireError: not such an item, or sizes that contradict each other or the limit.
    """
    if not isinstance(item, Tag) or item.number not in (ROW_MAJOR, COLUMN_MAJOR):
        raise WireError(f"an image must be an array with tag 40 or 1040, not {shown(item)}")
    if not isinstance(item.value, list) or len(item.value) != 2:
        raise WireError(f"tag {item.number} must hold dimensions and data")
    dimensions, typed = item.value
    shape = image_shape(dimensions, "shape of the image")
    if not isinstance(typed, Tag) or typed.number not in DTYPES.keys() | FLOAT128.keys():
        number = typed.number if isinstance(typed, Tag) else shown(typed)
        raise WireError(f"the image's data has no known typed-array tag: {number}")
    if typed.number in FLOAT128:
        size = FLOAT128_BYTES * image_bytes(shape, np.dtype("u1"), max_bytes // FLOAT128_BYTES)
        dtype, data = np.dtype(float), _bytes(typed.value, size)
        data = float128_as_float64(data, FLOAT128[typed.number]).view(np.uint8)
    else:
        dtype = np.dtype(DTYPES[typed.number])
        data = _bytes(typed.value, image_bytes(shape, dtype, max_bytes))
    return native_image(data, shape, dtype, "F" if item.number == COLUMN_MAJOR else "C")


def _bytes(value: object, size_bytes: int) -> memoryview | NDArray[np.uint8]:
    """The bytes of a plain or compressed byte string, exactly as many as stated."""
    match value:
        case memoryview():
            if len(value) != size_bytes:
                raise WireError(f"the image's data has {len(value)} bytes, not {size_bytes}")
            return value
        case Tag(number=56500, value=[str() as algorithm, int() as element, memoryview() as data]):
            return decompress(data, algorithm, element, size_bytes)
        case Tag(number=56500):
            raise WireError("tag 56500 must hold an algorithm, an element size and bytes")
        case _:
            raise WireError(f"the image's data must be a byte string, not {shown(value)}")


def encode_image(image: NDArray[Any], compression: Compression | None) -> cbor2.CBORTag:
    """An `(H, W)` image as a tag 40 item for `cbor2.dumps`."""
    data = np.ascontiguousarray(image)
    tag = _TAGS[data.dtype.str]
    content: object = data.tobytes()
    if compression is not None:
        packed = compress(data, compression)
        content = cbor2.CBORTag(COMPRESSED, [compression, data.itemsize, packed])
    return cbor2.CBORTag(ROW_MAJOR, [list(data.shape), cbor2.CBORTag(tag, content)])
