"""What process variables add to series and frames on their way in."""

from __future__ import annotations

import dataclasses
import threading
import time

from cade.frames import Frame, SeriesStart
from daemon.settings import EpicsSettings
from daemon.sources.epics_metadata import MetadataByPv
from daemon.sources.epics_roles import RoleByPv, StatedRole
from daemon.sources.pv_board import PvBoard

_TICK_S = 0.05


class PvLabels:
    """Adds roles, metadata and monitor values; used by the threads of the sources.

    Args:
        settings: which PVs, and how long to wait for a role.
        board: what is known of them.
        roles: asks them for the role.
        metadata: reads the others.
    """

    def __init__(
        self, settings: EpicsSettings, board: PvBoard, roles: RoleByPv, metadata: MetadataByPv
    ) -> None:
        self._settings, self._board = settings, board
        self._roles, self._metadata = roles, metadata
        self._role_due_s = time.monotonic() + settings.connect_s
        self.last_frame_s = 0.0
        """When the last frame came, by the monotonic clock."""

    def start(self, start: SeriesStart, stop: threading.Event, *, with_role: bool) -> SeriesStart:
        """A series with its metadata; `with_role` where no PV has opened it.

        Where the role is not known the series waits for it, but not for ever.
        """
        metadata, beamline = self._metadata.of_series(start.beamline)
        start = dataclasses.replace(start, beamline=beamline, metadata=metadata)
        if not with_role or not self._settings.states_role or start.role is not None:
            return start
        stated = self._role(stop)
        return dataclasses.replace(start, role=stated.role, role_problem=stated.problem)

    def frame(self, frame: Frame) -> Frame:
        """A frame that has just come, with what the PVs say now."""
        self.last_frame_s = time.monotonic()
        readings, monitor = self._metadata.of_frame()
        if monitor is None:
            monitor = frame.monitor
        return dataclasses.replace(frame, readings=readings, monitor=monitor)

    def _role(self, stop: threading.Event) -> StatedRole:
        began_s = time.monotonic()
        while True:
            stated, now_s = self._roles.stated(self._board.latest), time.monotonic()
            if stated.known:
                self._role_due_s = 0.0
                due_s = began_s + self._settings.settle_s if stated.problem else 0.0
            else:
                # Silent for a while already, or from now on.
                self._role_due_s = self._role_due_s or now_s + self._settings.connect_s
                due_s = self._role_due_s
            if now_s >= due_s or stop.wait(_TICK_S):
                return stated
