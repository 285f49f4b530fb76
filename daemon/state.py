"""In one word, what the daemon does."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Order and names are those of the State PV."""

    STARTING = "starting"
    IDLE = "idle"  # no series is open, no frame on its way
    ACQUIRING = "acquiring"
    LAGGING = "lagging"
    PAUSED = "paused"
    STOPPING = "stopping"
    FAULT = "fault"
    SILENT = "silent"  # said of the daemon by others, which have not heard of it for a while
