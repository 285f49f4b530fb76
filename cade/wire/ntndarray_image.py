"""The pixels of an NTNDArray, checked before anything is allocated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cade.frames import Image
from cade.wire import fields
from cade.wire.codec import WireError
from cade.wire.compression import COMPRESSIONS, decompress, decompress_any
from cade.wire.raw_image import native_image

SCALAR_TYPES = {
    1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "uint8", 6: "uint16", 7: "uint32",
    8: "uint64", 9: "float32", 10: "float64",
}  # fmt: skip
"""pvData's ScalarType, by which NDPva says what was compressed."""

MEMBERS = {
    "int8": "byteValue", "int16": "shortValue", "int32": "intValue", "int64": "longValue",
    "uint8": "ubyteValue", "uint16": "ushortValue", "uint32": "uintValue", "uint64": "ulongValue",
    "float32": "floatValue", "float64": "doubleValue", "bool": "booleanValue",
}  # fmt: skip
"""Members of the union `value`, by the numbers in them."""


def image_of(array: fields.Fields, max_bytes: int) -> Image:
    """`(H, W)`, read-only, in native byte order; a view of `value` if that is not compressed.

    Raises:
        WireError: it is no single image, or sizes contradict each other or the limit.
    """
    value = array.get("value")
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        raise WireError(f"value must be an array of numbers, not {type(value).__name__}")
    pixels = value.view(np.uint8) if value.dtype == np.bool_ else value
    if pixels.dtype.name not in fields.DTYPES:
        raise WireError(f"pixels of type {pixels.dtype.name:.20} are not known")
    shape = fields.image_shape_xy([one.get("size") for one in _dimensions(array)], "dimension")
    codec = _codec(array, "name")
    if codec not in (None, ""):
        return _decompressed(array, pixels, shape, codec, max_bytes)
    fields.image_bytes(shape, pixels.dtype, max_bytes)
    if pixels.size != shape[0] * shape[1]:
        raise WireError(
            f"value has {pixels.size} pixels, the dimensions are those of {shape[0]} x {shape[1]}"
        )
    image = pixels.reshape(shape)
    image.flags.writeable = False
    return image


def region_of(array: fields.Fields) -> str:
    """Which part of the sensor was read, as text; "" for all of it, read as usual.

    Raises:
        WireError: offsets or binning are no numbers.
    """
    parts = []
    for axis, one in zip("xy", _dimensions(array), strict=False):
        offset, binning = (_whole(one, key) for key in ("offset", "binning"))
        reverse = " reversed" if one.get("reverse") is True else ""
        if offset or binning > 1 or reverse:
            parts.append(f"{axis} from {offset} by {max(1, binning)}{reverse}")
    return ", ".join(parts)


def _dimensions(array: fields.Fields) -> list[dict[str, object]]:
    found = array.get("dimension")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise WireError(f"dimension must be a list of structures, not {fields.shown(found)}")
    return found


def _whole(dimension: fields.Fields, key: str) -> int:
    value = dimension.get(key, 0)
    if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
        raise WireError(f"{key} of a dimension must be a whole number, not {fields.shown(value)}")
    return value


def _codec(array: fields.Fields, key: str) -> Any:
    """A field of `codec`, None where it is no text and no number."""
    codec = array.get("codec")
    value = codec.get(key) if isinstance(codec, dict) else None
    return value if type(value) in (str, int) else None


def _decompressed(
    array: fields.Fields, stored: NDArray[Any], shape: tuple[int, int], codec: object, limit: int
) -> Image:
    algorithm = "lz4" if codec == "lz4hdf5" else str(codec)
    if algorithm not in COMPRESSIONS:
        raise WireError(
            f"codec {fields.shown(codec)} is not supported: set the compressor of the IOC's "
            "Codec plugin to None, LZ4, LZ4HDF5 or BSLZ4"
        )
    length = fields.integer(array, "compressedSize")
    if not 0 < length <= stored.nbytes:
        raise WireError(f"compressedSize is {length}, but value has {stored.nbytes} bytes")
    dtype = _original_type(array, stored, length)
    size = fields.image_bytes(shape, dtype, limit)
    stated = fields.integer(array, "uncompressedSize")
    if stated not in (0, size):
        raise WireError(
            f"uncompressedSize is {stated}, but {shape[0]} x {shape[1]} {dtype.name} are {size} "
            "bytes: does codec.parameters state the right type?"
        )
    payload = stored.view(np.uint8).data[:length]
    unpack = decompress if codec == "lz4hdf5" else decompress_any
    return native_image(unpack(payload, algorithm, dtype.itemsize, size), shape, dtype)


def _original_type(array: fields.Fields, stored: NDArray[Any], length: int) -> np.dtype[Any]:
    """What was compressed: NDPva sends just the bytes, NDPvxs a whole array of the original type.

    NDPvxs numbers the types in another way, which therefore does not matter.
    """
    if stored.dtype != np.uint8 or stored.nbytes != length:
        return stored.dtype
    number = _codec(array, "parameters")
    if number not in SCALAR_TYPES:
        raise WireError(
            f"codec.parameters must number the type of the pixels, 1 to 10, not {number!r:.20}"
        )
    return np.dtype(SCALAR_TYPES[number])
