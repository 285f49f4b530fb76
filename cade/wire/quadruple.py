"""128-bit floats (IEEE 754 binary128), which numpy has only by name."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

FLOAT128_BYTES = 16

_FRACTION_BITS = 48  # of the upper half; the lower half is fraction as a whole
_BIAS = 16_383
_SPECIAL = 0x7FFF


def float128_as_float64(
    data: memoryview | NDArray[np.uint8], byte_order: Literal["big", "little"]
) -> NDArray[np.float64]:
    """The numbers as `(N,)` float64, which has less precision (53 bits) and range.

    What is too large becomes infinite, what is too small 0.

    Args:
        data: 16 bytes a number.
        byte_order: of each number.
    """
    words = np.frombuffer(data, ">u8" if byte_order == "big" else "<u8").reshape(-1, 2)
    upper, lower = (words if byte_order == "big" else words[:, ::-1]).T
    negative = (upper >> 63).astype(bool)
    exponent = (upper >> _FRACTION_BITS & _SPECIAL).astype(np.int64)
    fraction = (upper & (1 << _FRACTION_BITS) - 1) * 2.0**-_FRACTION_BITS
    fraction += lower * 2.0 ** -(_FRACTION_BITS + 64)
    with np.errstate(over="ignore", under="ignore"):
        size = np.ldexp(1 + fraction, (exponent - _BIAS).astype(np.int32))
    size[exponent == 0] = 0.0
    size[exponent == _SPECIAL] = np.where(fraction[exponent == _SPECIAL] == 0, np.inf, np.nan)
    found: NDArray[np.float64] = np.where(negative, -size, size)
    return found
