"""The account of every frame: received = written + rejected + kept as references + waiting."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from cade.frames import Reason
from daemon.series_ledger import SeriesLedger


@dataclass(frozen=True, slots=True)
class Totals:
    """A consistent view of the account.

    `kept` are references, flats and darks; `missing` are image ids of ended series that never came.
    `held` is the part of `waiting` that waits for a reference. `doubted` counts frames that were
    processed all the same.
    """

    received: int
    written: int
    kept: int
    rejected: dict[Reason, int]
    missing: int = 0
    held: int = 0
    doubted: dict[Reason, int] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Frames whose fate is known."""
        return self.written + self.kept + sum(self.rejected.values())

    @property
    def waiting(self) -> int:
        """Frames on their way."""
        return self.received - self.done

    def __str__(self) -> str:
        """One line for `systemctl status`."""
        lost = sum(self.rejected.values())
        line = f"{self.written} written, {self.kept} kept, {lost} rejected, {self.waiting} waiting"
        return f"{line}, {self.held} of them for a reference" if self.held else line


class Account:
    """Counts frames as they come and go; safe to use from every thread.

    `series` follows their series likewise.
    """

    def __init__(self) -> None:
        self.series = SeriesLedger()
        self._lock = threading.Lock()
        self._received = self._written = self._kept = self._missing = self._held = 0
        self._rejected: Counter[Reason] = Counter()
        self._doubted: Counter[Reason] = Counter()
        self._arrived_s: deque[float] = deque()  # of frames on their way

    def receive(self) -> None:
        """A frame, or a message that should have been one, has come."""
        with self._lock:
            self._received += 1
            self._arrived_s.append(time.monotonic())

    def keep(self) -> None:
        """A reference, flat or dark has been used."""
        with self._lock:
            self._kept += 1
            self._leave(1)

    def leave_out(self) -> None:
        """What was kept as a reference has turned out to be none: it is rejected after all."""
        with self._lock:
            self._kept -= 1
            self._rejected[Reason.OUTLIER] += 1

    def hold(self) -> None:
        """A sample begins to wait for a reference; it is still waiting."""
        with self._lock:
            self._held += 1
            self._leave(1)

    def release(self) -> None:
        """A sample no longer waits for a reference: it goes on, or is rejected."""
        with self._lock:
            self._held -= 1
            self._arrived_s.append(time.monotonic())

    def doubt(self, reason: Reason) -> None:
        """A frame is processed although something speaks against it."""
        with self._lock:
            self._doubted[reason] += 1

    def write(self, count: int) -> None:
        """Rows are in the file."""
        with self._lock:
            self._written += count
            self._leave(count)

    def reject(self, reason: Reason) -> None:
        """A frame will not be processed."""
        with self._lock:
            self._rejected[reason] += 1
            self._leave(1)

    def miss(self, count: int) -> None:
        """Images of a series that has ended have not come."""
        with self._lock:
            self._missing += count

    def lag_s(self) -> float:
        """How long the oldest frame has been on its way, since it came or waited for a reference.

        Frames are taken to leave in the order in which they come, which is nearly so.
        """
        with self._lock:
            return time.monotonic() - self._arrived_s[0] if self._arrived_s else 0.0

    def totals(self) -> Totals:
        """The account now."""
        with self._lock:
            rejected = dict(self._rejected)
            return Totals(
                received=self._received,
                written=self._written,
                kept=self._kept,
                rejected=rejected,
                missing=self._missing,
                held=self._held,
                doubted=dict(self._doubted),
            )

    def _leave(self, count: int) -> None:
        """So many frames are on their way no longer."""
        for _ in range(min(count, len(self._arrived_s))):
            self._arrived_s.popleft()
