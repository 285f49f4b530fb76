"""What the levels of an acquire PV and a role PV mean: when a series starts and ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from cade.frames import Role, SeriesEnd, SeriesStart


class Acquisition:
    """At most one series is open, from a level of 1 until `settle_s` after it has become 0.

    Levels count, not edges: a level of 1 at the start, or after a lost connection, is a running
    series. A level of 1 within `settle_s` is a new series and ends the old one at once. A level
    that is unknown changes nothing. Times are of the monotonic clock.

    Args:
        settle_s: the detector's last frames may arrive this long after the level has fallen.
        role_wait_s: a start waits so long for a role that is not known yet, or no longer; 0 where
            no PV states one.
        now_s: the present.
    """

    def __init__(self, settle_s: float, role_wait_s: float, now_s: float) -> None:
        self._settle_s = settle_s
        self._role_wait_s = role_wait_s
        self._role: Role | None = None
        self._role_due_s: float | None = now_s + role_wait_s
        self._on = False
        self._open: str | None = None
        self._end_due_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether a series runs."""
        return self._open is not None

    def level(self, *, on: bool, now_s: float) -> None:
        """The acquire PV has this level."""
        self._on = on
        if on and self._end_due_s is not None:
            self._end_due_s = now_s
        elif not on and self._open is not None and self._end_due_s is None:
            self._end_due_s = now_s + self._settle_s

    def level_lost(self) -> None:
        """The acquire PV is silent: no series starts, and the open one goes on."""
        self._on = False

    def role(self, role: Role | None) -> None:
        """The role PV states this for the next series; None where what it states is no role."""
        self._role = role
        self._role_due_s = None

    def role_lost(self, now_s: float) -> None:
        """The role PV is silent: what it stated no longer holds."""
        self._role = None
        self._role_due_s = now_s + self._role_wait_s

    def step(self, now_s: float) -> Iterator[SeriesStart | SeriesEnd]:
        """What is due by now."""
        if self._open is not None and self._end_due_s is not None and now_s >= self._end_due_s:
            yield SeriesEnd(self._open)
            self._open = self._end_due_s = None
        waits_for_role = self._role_due_s is not None and now_s < self._role_due_s
        if self._on and self._open is None and not waits_for_role:
            start_s = time.time()
            self._open = f"epics-{datetime.fromtimestamp(start_s, UTC):%Y%m%dT%H%M%S.%fZ}"
            yield SeriesStart(self._open, start_s, role=self._role)
