"""Times that detectors and files state, which may be anything."""

from __future__ import annotations

import time

LATEST_S = 4_102_444_800.0
"""2100-01-01 in Unix time."""


def plausible_time_s(stated_s: float | None) -> float:
    """The stated Unix time in s; now where it is not stated, or not between 1970 and 2100."""
    if stated_s is not None and 0 < stated_s < LATEST_S:
        return stated_s
    return time.time()
