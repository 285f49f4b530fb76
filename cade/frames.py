"""The values that travel from a detector to the tracker, one frame at a time, on the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from numpy.typing import NDArray

from cade.reading import Metadata, Reading

Image = NDArray[Any]


class Role(StrEnum):
    """What a frame shows."""

    SAMPLE = "sample"
    REFERENCE = "reference"
    FLAT = "flat"
    DARK = "dark"


class Reason(StrEnum):
    """Why a frame or message was not processed. Every loss has exactly one of these."""

    MALFORMED = "malformed"  # bytes that no decoder of the stated format understands
    UNREADABLE = "unreadable"  # a file that cannot be read, or is truncated
    WRONG_SHAPE = "wrong_shape"
    WRONG_DTYPE = "wrong_dtype"
    EMPTY = "empty"  # all zero, or no variation
    SATURATED = "saturated"
    TOO_MANY_INVALID = "too_many_invalid"  # NaN or masked pixels above the limit
    NO_REFERENCE = "no_reference"
    REFERENCE_SHAPE = "reference_shape"  # there are references, but none of the sample's shape
    REFERENCE_DETECTOR = "reference_detector"
    REFERENCE_ENERGY = "reference_energy"
    REFERENCE_EXPOSURE = "reference_exposure"
    REFERENCE_DISTANCE = "reference_distance"
    REFERENCE_DIFFUSER = "reference_diffuser"  # the diffuser has been moved since
    REFERENCE_OLD = "reference_old"
    REFERENCE_DRIFTED = "reference_drifted"  # the whole pattern has moved since, or is another one
    NO_ROOM = "no_room"  # no valid reference yet, and the room for frames that wait is full
    OUTLIER = "outlier"  # a reference frame unlike the others of its average
    NO_SERIES = "no_series"  # an image outside any series
    NO_ROLE = "no_role"  # process variables say that it is none of sample, reference, flat, dark
    REPEATED = "repeated"  # an image id seen before in this series
    PROCESSING = "processing"  # the tracker or the integrator could not process it


NOT_NEW = (Reason.REPEATED, Reason.NO_SERIES)
"""Reasons of frames that are no image of their series: they neither take nor fill an image id."""


@dataclass(frozen=True, slots=True)
class Beamline:
    """What a detector or a file says about the optics; None where it says nothing. SI units.

    `detector` tells the references of several detectors apart, `diffuser_m` (the position of its
    motor) those of several places on the diffuser.
    """

    energy_ev: float | None = None
    pixel_size_m: float | None = None
    distance_m: float | None = None
    source_distance_m: float | None = None
    exposure_s: float | None = None
    detector: str | None = None
    diffuser_m: float | None = None


@dataclass(frozen=True, slots=True)
class SeriesStart:
    """A series begins. `image_count` is None where the detector does not announce it.

    `lossy` is a live view, which leaves images out: a gap in their ids says nothing. `flatfield`
    and `pixel_mask`, each `(H, W)`, are the detector's own, where they were asked for and sent;
    `flatfield_applied` says that its images have been multiplied by the former already.
    `role_problem` says why frames that state no role themselves have none at all.
    """

    series_id: str
    start_time_s: float
    image_count: int | None = None
    shape: tuple[int, int] | None = None
    dtype: str | None = None
    role: Role | None = None
    beamline: Beamline = field(default_factory=Beamline)
    lossy: bool = False
    flatfield: Image | None = field(default=None, compare=False, repr=False)
    flatfield_applied: bool = field(default=False, compare=False)
    pixel_mask: Image | None = field(default=None, compare=False, repr=False)
    role_problem: str = ""
    metadata: Metadata = field(default_factory=Metadata)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One detector image.

    `data` is `(H, W)`, row = y down, column = x right, in detector counts; it may be a read-only
    view of a receive buffer. `image_id` counts from 0 in the series. `role` is None where the
    origin does not say; the daemon's settings then decide. `origin` is a file or an endpoint.
    `monitor` is the intensity of the beam meanwhile (ring current or ion chamber), in any unit,
    None where nobody measured it. `readings` are what process variables said when it came.
    """

    series_id: str
    image_id: int
    data: Image
    timestamp_s: float
    role: Role | None = None
    origin: str = ""
    saturation_value: float | None = None
    monitor: float | None = None
    readings: tuple[Reading, ...] = ()


@dataclass(frozen=True, slots=True)
class SeriesEnd:
    """A series is complete."""

    series_id: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A frame or message that will not be processed, and why. `image_id` is -1 where unknown."""

    series_id: str
    image_id: int
    reason: Reason
    detail: str
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The averaged reference: `data` `(H, W)` float32 counts, mean of `frame_count` frames.

    `monitor` is the mean of theirs, None where they had none.
    """

    reference_id: str
    data: Image
    frame_count: int
    timestamp_s: float
    monitor: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FramePair:
    """A sample frame and the reference it is tracked against.

    `drift_px` `(x, y)` is how far the whole pattern has moved since; None where nobody measured.
    """

    sample: Frame
    reference: Reference
    drift_px: tuple[float, float] | None = None


Event = SeriesStart | Frame | SeriesEnd | Rejected
