"""Statistical errors of numbers that are means over patterns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of independent values; NaN for fewer than two."""
    if len(values) < 2:
        return math.nan
    mean = sum(values) / len(values)
    square = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return math.sqrt(square / len(values))


def jackknife_error(count: int, without: Callable[[int], float]) -> float:
    """Of what is found from `count` patterns; `without(i)` finds it from all but pattern i."""
    if count < 2:
        return math.nan
    found = [without(i) for i in range(count)]
    mean = sum(found) / count
    return math.sqrt((count - 1) / count * sum((f - mean) ** 2 for f in found))
