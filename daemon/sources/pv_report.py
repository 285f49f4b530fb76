"""What is wrong with process variables, said once and counted."""

from __future__ import annotations

import threading
from collections import Counter

import structlog

_MOST_SAID = 100


class PvReport:
    """Warnings, each once for a PV; safe in every thread but those of Channel Access."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: set[tuple[str, str]] = set()
        self._counts: Counter[str] = Counter()
        self._log = structlog.get_logger(__name__)

    def warn(self, pv: str, problem: str) -> None:
        """Log a problem of a PV where it is new, count it in any case."""
        with self._lock:
            self._counts[pv] += 1
            is_new = (pv, problem) not in self._said and len(self._said) < _MOST_SAID
            if is_new:
                self._said.add((pv, problem))
        if is_new:
            self._log.warning(f"PV {problem}", pv=pv)

    def counts(self) -> dict[str, int]:
        """How often there was something wrong with each PV."""
        with self._lock:
            return dict(self._counts)
