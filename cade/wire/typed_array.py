"""Images in CBOR: RFC 8746 arrays, and DECTRIS's tag 56500 for compressed bytes."""

from __future__ import annotations

from typing import Any

import cbor2
import numpy as np
from numpy.typing import NDArray

from cade.wire.cbor import Tag
from cade.wire.codec import WireError
from cade.wire.compression import Compression, compress, decompress
from cade.wire.fields import image_bytes, image_shape, shown

ROW_MAJOR, COLUMN_MAJOR, COMPRESSED = 40, 1040, 56500

# RFC 8746 table 1 without the 128-bit floats (83, 87); 68 is uint8 with clamped arithmetic.
DTYPES = {
    64: "|u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "|u1", 69: "<u2", 70: "<u4", 71: "<u8",
    72: "|i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8",
    80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8",
}  # fmt: skip
_TAGS = {dtype: tag for tag, dtype in reversed(DTYPES.items())}


def decode_image(item: object, max_bytes: int) -> NDArray[Any]:
    """`(H, W)` image of a tag 40 or 1040 item, in native byte order and read-only.

    An uncompressed little-endian image is a view of the message.

    Raises:
        WireError: not such an item, or sizes that contradict each other or the limit.
    """
    if not isinstance(item, Tag) or item.number not in (ROW_MAJOR, COLUMN_MAJOR):
        raise WireError(f"an image must be an array with tag 40 or 1040, not {shown(item)}")
    if not isinstance(item.value, list) or len(item.value) != 2:
        raise WireError(f"tag {item.number} must hold dimensions and data")
    dimensions, typed = item.value
    shape = image_shape(dimensions, "shape of the image")
    if not isinstance(typed, Tag) or typed.number not in DTYPES:
        number = typed.number if isinstance(typed, Tag) else shown(typed)
        raise WireError(f"the image's data has no known typed-array tag: {number}")
    dtype = np.dtype(DTYPES[typed.number])
    data = _bytes(typed.value, image_bytes(shape, dtype, max_bytes))
    flat = np.frombuffer(data, dtype)
    image = flat.reshape(shape, order="F" if item.number == COLUMN_MAJOR else "C")
    if not dtype.isnative:
        image = image.astype(dtype.newbyteorder("="))
    image.flags.writeable = False
    return image


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
