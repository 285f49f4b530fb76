"""What the levels of an acquire PV and a stated role mean: when a series starts and ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from cade.frames import SeriesEnd, SeriesStart
from daemon.sources.epics_roles import UNKNOWN, StatedRole


class Acquisition:
    """At most one series is open, from a level of 1 until `settle_s` after it has become 0.

    Levels count, not edges: a level of 1 at the start, or after a lost connection, is a running
    series; one that has fallen again while the start waited for its role is a series too. A level
    of 1 within `settle_s` is a new series and ends the old one at once. A level that is unknown
    changes nothing. A level of 0 after a lost connection may only be how the IOC has started
    again: then the series ends when no frame has come for `wait_s`. Times are of the monotonic
    clock.

    Args:
        settle_s: the detector's last frames may arrive this long after the level has fallen; and a
            start waits this long where the role that is stated is none.
        wait_s: a start waits this long for a role that is not known yet, or no longer.
        now_s: the present.
        states_role: whether PVs state a role at all.
    """

    def __init__(
        self, settle_s: float, wait_s: float, now_s: float, *, states_role: bool = False
    ) -> None:
        self._settle_s, self._wait_s = settle_s, wait_s
        self._role = UNKNOWN if states_role else StatedRole()
        self._role_due_s = now_s + wait_s
        self._on = self._was_lost = self._may_go_on = False
        self._wanted = False  # the level has risen, and no series has started since
        self._done_with = False  # the series was ended although the level is still 1
        self._on_since_s = now_s
        self._open: str | None = None
        self._end_due_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether a series runs."""
        return self._open is not None

    @property
    def is_pending(self) -> bool:
        """Whether a series is wanted that has not started yet."""
        return self._wanted

    def level(self, *, on: bool, now_s: float) -> None:
        """The acquire PV has this level."""
        self._done_with &= on
        if self._done_with:
            return
        if on and not self._on and (self._open is None or self._end_due_s is not None):
            self._on_since_s, self._wanted = now_s, True
        self._on = on
        if on and self._end_due_s is not None:
            self._end_due_s, self._may_go_on = now_s, False
        elif not on and self._open is not None and self._end_due_s is None:
            self._may_go_on = self._was_lost
            self._end_due_s = now_s + (self._wait_s if self._was_lost else self._settle_s)
        self._was_lost = False

    def end(self, now_s: float) -> None:
        """End the series now; the next one begins when the level rises again."""
        self._done_with = self._on
        self._on = self._wanted = False
        if self._open is not None:
            self._end_due_s, self._may_go_on = now_s, False

    def level_lost(self) -> None:
        """The acquire PV is silent: no series starts, and the open one goes on."""
        self._on, self._was_lost = False, self._open is not None or self._wanted

    def role(self, stated: StatedRole, now_s: float) -> None:
        """What the PVs state for the next series."""
        if self._role.known and not stated.known:
            self._role_due_s = now_s + self._wait_s
        self._role = stated

    def step(
        self, now_s: float, *, held: bool = False, last_frame_s: float = 0.0
    ) -> Iterator[SeriesStart | SeriesEnd]:
        """What is due by now.

        Args:
            now_s: the present.
            held: frames of the open series are still on their way: neither end nor start.
            last_frame_s: when the last frame came.
        """
        if held and self._open is not None:
            return
        if self._open is not None and self._ends(now_s, last_frame_s):
            yield SeriesEnd(self._open)
            self._open = self._end_due_s = None
        if self._wanted and self._open is None and not self._waits_for_role(now_s):
            self._wanted = False
            if not (self._on or self._was_lost):  # it was short, and has waited for its role
                self._end_due_s = now_s + self._settle_s
            start_s = time.time()
            self._open = f"epics-{datetime.fromtimestamp(start_s, UTC):%Y%m%dT%H%M%S.%fZ}"
            role, problem = self._role.role, self._role.problem
            yield SeriesStart(self._open, start_s, role=role, role_problem=problem)

    def _ends(self, now_s: float, last_frame_s: float) -> bool:
        if self._end_due_s is None:
            return False
        silent = not self._may_go_on or now_s >= last_frame_s + self._wait_s
        return now_s >= self._end_due_s and silent

    def _waits_for_role(self, now_s: float) -> bool:
        if not self._role.known:
            return now_s < self._role_due_s
        return bool(self._role.problem) and now_s < self._on_since_s + self._settle_s
