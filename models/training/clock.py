"""Time in a training run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds of a run of which `before_s` were spent before it was resumed."""

    before_s: float
    began: float = field(default_factory=time.monotonic)

    @property
    def here_s(self) -> float:
        """Seconds since the start or the resumption."""
        return time.monotonic() - self.began

    @property
    def total_s(self) -> float:
        """Seconds in all."""
        return self.before_s + self.here_s


class Timer:
    """Tells every so many seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s, self._last = every_s, time.monotonic()

    def due(self) -> bool:
        """Whether the time has passed; if so it begins anew."""
        if time.monotonic() - self._last <= self._every_s:
            return False
        self._last = time.monotonic()
        return True
