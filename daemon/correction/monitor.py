"""The beam's monitor: ring current or ion chamber, as a number in any unit."""

from __future__ import annotations

import math


def usable(monitor: float | None) -> float | None:
    """The value where it can be divided by; zero, negative ones and NaN are refused."""
    return monitor if monitor is not None and math.isfinite(monitor) and monitor > 0 else None
