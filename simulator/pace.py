"""Images at a steady rate."""

from __future__ import annotations

import time


class Pace:
    """Waits before every image but the first; not at all where `rate_hz` is None."""

    def __init__(self, rate_hz: float | None) -> None:
        self._interval_s = None if rate_hz is None else 1.0 / rate_hz
        self._next_s = time.monotonic()

    def wait(self) -> None:
        """Until the next image is due; one that is late does not make the others early."""
        if self._interval_s is None:
            return
        late_s = time.monotonic() - self._next_s
        time.sleep(max(0.0, -late_s))
        self._next_s += self._interval_s + max(0.0, late_s)
