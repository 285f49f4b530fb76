"""NTNDArray: p4p's own normative type filled by p4p, as ADCore's NDPva plugin fills it.

Compressed pixels as areaDetector's Codec plugin leaves them: bytes of bslz4 or LZ4 without a
header, `codec.parameters` numbering what they were (pvData's ScalarType).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bitshuffle
import lz4.block
import numpy as np
from numpy.typing import NDArray

SECONDS = 1_793_613_600
_SCALAR_TYPES = {"uint8": 5, "uint16": 6, "uint32": 7}


def array(
    image: NDArray[Any], unique_id: int, role: str, algorithm: str | None = None
) -> dict[str, Any]:
    """The fields of one image, with the role as an attribute."""
    from p4p.nt import NTNDArray

    value = NTNDArray().wrap(image)
    value.uniqueId = unique_id
    for key in ("dataTimeStamp", "timeStamp"):
        value[key] = {"secondsPastEpoch": SECONDS + unique_id, "nanoseconds": 500_000_000}
    value.attribute = [{"name": "ColorMode", "value": 0}, {"name": "role", "value": role}]
    if algorithm is not None:
        packed = (
            bitshuffle.compress_lz4(image)
            if algorithm == "bslz4"
            else np.frombuffer(lz4.block.compress(image.tobytes(), store_size=False), np.uint8)
        )
        value.value = ("ubyteValue", packed)
        value.codec = {"name": algorithm, "parameters": _SCALAR_TYPES[image.dtype.name]}
        value.compressedSize = packed.nbytes
    found: dict[str, Any] = value.todict()
    return found


def series(
    images: Sequence[NDArray[Any]], role: str, algorithm: str | None = None
) -> list[dict[str, Any]]:
    """Successive images."""
    return [array(image, 7 + number, role, algorithm) for number, image in enumerate(images)]
