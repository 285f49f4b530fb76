"""What is known about a series before its first row: the static part of a result file."""

from __future__ import annotations

from dataclasses import dataclass, field

from cade.geometry import Geometry
from cade.reading import Metadata
from daemon.correction.mounting import AS_IT_IS, Mounting


@dataclass(frozen=True, slots=True)
class Parameter:
    """One named setting of a processing step; `units` counts for numbers only."""

    name: str
    value: str | bool | int | float
    units: str = ""


@dataclass(frozen=True, slots=True)
class TrackerProvenance:
    """Which tracker made the displacement; weights are None for trackers that have none."""

    name: str
    version: str
    weights_name: str | None = None
    weights_sha256: str | None = None
    has_sigma: bool = False
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanHeader:
    """A series as its result file describes it.

    `shape` `(H, W)` is that of the results; `mounting` says what part of a frame of `frame_shape`
    they show (None: all of one of `shape`). `geometry` is that of the results' pixels; without it
    only displacement, transmission and dark field are written, on axes in px. `corrections` says
    what was done to the frames before tracking.
    """

    series_id: str
    start_time_s: float
    shape: tuple[int, int]
    geometry: Geometry | None
    tracker: TrackerProvenance
    configuration_toml: str
    corrections: tuple[Parameter, ...] = ()
    exposure_s: float | None = None
    metadata: Metadata = field(default_factory=Metadata)
    mounting: Mounting = AS_IT_IS
    frame_shape: tuple[int, int] | None = None
