"""The settings: one frozen tree, SI units, checked as a whole before anything starts.

`daemon.configuration` reads it from TOML and the environment. Every field's description is the
text that `cade config schema` and the documentation show.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cade.frames import Beamline, Role
from cade.geometry import DiffuserPlace, Geometry

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A table of the configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StreamSettings(Section):
    """A detector's ZeroMQ stream."""

    kind: Literal["stream"] = "stream"
    format: Literal["dectris-v2", "dectris-v1", "array-1.0", "odin", "karabo", "stins"] = Field(
        description="wire format"
    )
    endpoint: str = Field(
        description="for example tcp://127.0.0.1:31001", pattern=r"^(tcp|ipc)://.+"
    )
    socket: Literal["pull", "sub", "req"] = Field(
        "pull", description="for a detector that offers push, pub, or rep (karabo only)"
    )
    bind: bool = Field(False, description="bind the endpoint instead of connecting to it")
    role_key: str = Field("role", description="key of the header or user_data that names the role")
    channel: str | None = Field(
        None,
        description="which of several images: detector channel, dataset (odin), number from 1 "
        "(stins) or source[key] (karabo); the first one if not given",
    )
    queue_frames: int = Field(64, gt=0, description="high-water mark of the socket, in messages")
    silence_s: Positive | None = Field(
        None, description="a series without an end message ends after this silence"
    )
    max_message_bytes: int = Field(1 << 30, gt=0, description="larger messages are refused")

    @model_validator(mode="after")
    def _asks_only_a_bridge(self) -> StreamSettings:
        if self.socket == "req" and self.format != "karabo":
            raise ValueError(f"socket = 'req' goes with format = 'karabo', not '{self.format}'")
        if self.socket == "req" and self.bind:
            raise ValueError("socket = 'req' connects to the bridge: leave bind = true out")
        return self


class FolderSettings(Section):
    """A watched folder of TIFF or HDF5 files."""

    kind: Literal["folder"] = "folder"
    path: Path = Field(description="the folder; its subfolders are series")
    patterns: tuple[str, ...] = Field(
        ("*.tif", "*.tiff", "*.h5", "*.hdf5", "*.nxs", "*.npy"), description="names that are taken"
    )
    watch: Literal["events", "polling"] = Field(
        "events", description="inotify events, or polling (network file systems need it)"
    )
    poll_interval_s: Positive = Field(1.0, description="time between two looks when polling")
    quiet_s: float = Field(0.5, ge=0, description="a file is ready when unchanged for this long")
    give_up_s: Positive = Field(
        10.0, description="a file still unreadable this long after its last change is rejected"
    )
    existing: Literal["take", "ignore"] = Field("take", description="files there at start")
    silence_s: Positive = Field(5.0, description="a series ends after this silence")


class RoleSettings(Section):
    """How a frame's role is known where its origin does not say: the first match decides."""

    reference: tuple[str, ...] = Field(
        ("*ref*", "*Ref*"), description="patterns of file or folder names of references"
    )
    flat: tuple[str, ...] = Field(("*flat*", "*Flat*"), description="the same for flats")
    dark: tuple[str, ...] = Field(("*dark*", "*Dark*"), description="the same for darks")
    default: Role = Field(Role.SAMPLE, description="role of a frame that nothing names")


class GeometrySettings(Section):
    """The optical arrangement. What is not given is taken from the detector's metadata."""

    energy_ev: Positive | None = Field(None, description="photon energy [eV]")
    distance_m: Positive | None = Field(None, description="propagation distance d [m]")
    pixel_size_m: Positive | None = Field(None, description="effective detector pixel p [m]")
    source_distance_m: Annotated[float, Field(gt=0)] | None = Field(
        None, description="source to sample R1 [m]; inf or not given = parallel beam"
    )
    diffuser: DiffuserPlace = Field("upstream", description="side of the sample the diffuser is on")
    sample_distance_m: Positive | None = Field(
        None, description="sample to detector [m], only for a downstream diffuser"
    )

    @model_validator(mode="after")
    def _consistent(self) -> GeometrySettings:
        if self.diffuser == "downstream" and self.sample_distance_m is None:
            raise ValueError("diffuser = 'downstream' needs sample_distance_m as well")
        return self

    def missing(self, beamline: Beamline) -> tuple[str, ...]:
        """Names of the values that neither these settings nor the metadata give."""
        names = ("energy_ev", "distance_m", "pixel_size_m")
        return tuple(n for n in names if getattr(self, n) is None and getattr(beamline, n) is None)

    def resolve(self, beamline: Beamline) -> Geometry | None:
        """The geometry, settings before metadata; None where a needed value is missing."""
        if self.missing(beamline):
            return None
        return Geometry(
            energy_ev=self.energy_ev or beamline.energy_ev or math.nan,
            distance_m=self.distance_m or beamline.distance_m or math.nan,
            pixel_size_m=self.pixel_size_m or beamline.pixel_size_m or math.nan,
            source_distance_m=self.source_distance_m or beamline.source_distance_m or math.inf,
            diffuser=self.diffuser,
            sample_distance_m=self.sample_distance_m,
        )


class TrackerSettings(Section):
    """What finds the displacement."""

    name: str = Field("cade", description="tracker: cade or zncc")
    weights: str = Field(
        "cade", description="name of weights, shipped or own, or a .safetensors file"
    )
    weights_folder: Path = Field(
        Path("weights"), description="folder of weights of your own, as cade retrain makes them"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 …")
    window: int = Field(15, ge=3, description="window of the conventional trackers [px], odd")
    threads: int | None = Field(None, gt=0, description="CPU threads; all cores if not given")

    @model_validator(mode="after")
    def _odd(self) -> TrackerSettings:
        if self.window % 2 == 0:
            raise ValueError(f"window must be odd, not {self.window}")
        return self


class BatchSettings(Section):
    """How frames are put together for the device."""

    size: int = Field(4, gt=0, description="frames in a batch")
    wait_s: float = Field(0.2, ge=0, description="an incomplete batch is processed after this long")
    queue_frames: int = Field(32, gt=0, description="frames that may wait before each stage")


class CheckSettings(Section):
    """When a frame is rejected."""

    max_invalid_fraction: float = Field(0.2, ge=0, le=1, description="NaN or masked pixels allowed")
    max_saturated_fraction: float = Field(0.05, ge=0, le=1, description="saturated pixels allowed")


Doubt = Literal["count", "warn", "refuse"]


class ReferenceSettings(Section):
    """The store of references, which of them serves a sample, and samples that wait for one."""

    path: Path = Field(Path("references"), description="folder of the reference store")
    choice: Literal["before", "nearest", "interpolated", "pinned"] = Field(
        "before",
        description="the latest before the sample (or else the first after it), the nearest in "
        "time, interpolated between before and after, or the one that pinned names",
    )
    pinned: str = Field("", description="id of the reference for choice = 'pinned'")
    energy_tolerance: float = Field(1e-3, ge=0, description="relative difference allowed")
    exposure_tolerance: float = Field(0.05, ge=0, description="relative difference allowed")
    distance_tolerance: float = Field(0.01, ge=0, description="relative difference allowed")
    diffuser_tolerance_m: float = Field(
        1e-6, ge=0, description="how far the diffuser may have been moved [m]"
    )
    max_age_s: Positive | None = Field(
        None, description="longest time between a sample and its reference [s]; any if not given"
    )
    when_old: Doubt = Field("refuse", description="what becomes of samples beyond max_age_s")
    max_drift_px: Positive | None = Field(
        None,
        description="how far the whole pattern may have moved since the reference [px], measured "
        "on every sample; not measured if not given",
    )
    when_drifted: Doubt = Field("warn", description="what becomes of samples beyond max_drift_px")
    remove_drift: bool = Field(
        False, description="subtract the movement of the whole pattern from the displacement"
    )
    wait_s: float = Field(
        300.0,
        ge=0,
        description="samples without a valid reference wait for one until this long after the "
        "last frame of their series; 0 rejects them at once",
    )
    wait_memory_bytes: int = Field(
        256 << 20, ge=0, description="memory for samples that wait; more of them go to the disk"
    )
    wait_spool_bytes: int = Field(
        8 << 30, ge=0, description="disk space for samples that wait; more of them are rejected"
    )
    spool: Path | None = Field(
        None, description="folder of samples that wait; that of the store if not given"
    )

    @model_validator(mode="after")
    def _pinned(self) -> ReferenceSettings:
        if (self.choice == "pinned") != bool(self.pinned):
            raise ValueError("choice = 'pinned' and the id in pinned need each other")
        return self


OutputField = Literal["phase", "displacement", "refraction", "transmission", "dark_field"]
ALL_FIELDS: tuple[OutputField, ...] = (
    "phase",
    "displacement",
    "refraction",
    "transmission",
    "dark_field",
)


class OutputSettings(Section):
    """The HDF5 files."""

    root: Path = Field(Path("output"), description="folder under which everything is written")
    path: str = Field(
        "{root}/{proposal}/{series:06d}_{start:%Y%m%dT%H%M%S}.h5",
        description="template of a file's path: root, proposal, series, start",
    )
    proposal: str = Field("proposal", pattern=r"^[\w.-]+$", description="name of the proposal")
    write: tuple[OutputField, ...] = Field(ALL_FIELDS, description="fields that are written")
    compression: Literal["bitshuffle-lz4", "gzip", "none"] = Field(
        "bitshuffle-lz4", description="gzip for readers without the bitshuffle plugin"
    )
    remove_tilt: bool = Field(False, description="take the plane out of every phase image")
    divide_focusing: bool = Field(
        False, description="divide det(1 − ∇u) out of the transmission, which leaves absorption"
    )


class EpicsSettings(Section):
    """Process variables that drive the daemon; empty names are not used."""

    acquire_pv: str = Field("", description="1 starts a series, 0 ends it")
    role_pv: str = Field("", description="role of the frames: a name or 0 … 3 in the order of Role")
    connect_s: Positive = Field(10.0, description="a PV silent this long at start is reported")
    settle_s: float = Field(
        1.0,
        ge=0,
        description="a series ends this long after acquire_pv fell, and a frame may be this much "
        "earlier than its rise: Channel Access is slower than a detector",
    )

    @model_validator(mode="after")
    def _different(self) -> EpicsSettings:
        if self.acquire_pv and self.acquire_pv == self.role_pv:
            raise ValueError("acquire_pv and role_pv name the same PV")
        return self


class LogSettings(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level")
    format: Literal["auto", "json", "console"] = Field("auto", description="auto = by terminal")


Source = Annotated[StreamSettings | FolderSettings, Field(discriminator="kind")]


class Settings(Section):
    """Everything that can be set."""

    sources: tuple[Source, ...] = Field((), description="where frames come from")
    roles: RoleSettings = Field(default_factory=RoleSettings)
    geometry: GeometrySettings = Field(default_factory=GeometrySettings)
    tracker: TrackerSettings = Field(default_factory=TrackerSettings)
    batch: BatchSettings = Field(default_factory=BatchSettings)
    checks: CheckSettings = Field(default_factory=CheckSettings)
    references: ReferenceSettings = Field(default_factory=ReferenceSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    epics: EpicsSettings = Field(default_factory=EpicsSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    drain_s: Positive = Field(30.0, description="longest time to finish waiting frames at the end")
