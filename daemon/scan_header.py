"""What is known about a series before its first row: the static part of a result file."""

from __future__ import annotations

from dataclasses import dataclass

from cade.geometry import Geometry


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

    `shape` is `(H, W)`. Without `geometry` only displacement, transmission and dark field are
    written, on axes in px. `corrections` says what was done to the frames before tracking.
    """

    series_id: str
    start_time_s: float
    shape: tuple[int, int]
    geometry: Geometry | None
    tracker: TrackerProvenance
    configuration_toml: str
    corrections: tuple[Parameter, ...] = ()
    exposure_s: float | None = None
    sample_name: str = ""
