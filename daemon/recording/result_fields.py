"""Which datasets of a result file take which part of the rows: images, and one number a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.recording.results import ResultRows, TransmissionScale
from daemon.recording.scan_header import ScanHeader
from daemon.settings import OutputField, OutputSettings

TEXT_BYTES = 128
NEEDS_GEOMETRY: frozenset[OutputField] = frozenset({"phase", "refraction"})
SIGMAS = ("sigma_x", "sigma_y")


@dataclass(frozen=True, slots=True)
class ImageField:
    """Dataset `/entry/{group}/{name}`, `(n, H, W)` float32; `of` takes `(N, H, W)` from rows."""

    group: OutputField
    name: str
    units: str
    long_name: str
    of: Callable[[ResultRows], NDArray[Any] | None]


@dataclass(frozen=True, slots=True)
class Column:
    """Dataset `/entry/frames/{name}`, `(n,)`; `units` is None for text."""

    name: str
    dtype: Any
    units: str | None
    of: Callable[[ResultRows], Any]


def _refraction_x(rows: ResultRows) -> NDArray[Any] | None:
    return None if rows.refraction is None else rows.refraction.x_rad


def _refraction_y(rows: ResultRows) -> NDArray[Any] | None:
    return None if rows.refraction is None else rows.refraction.y_rad


def _scale(rows: ResultRows) -> TransmissionScale:
    unknown = np.full(len(rows), np.nan)
    return rows.transmission_scale or TransmissionScale(unknown, unknown, unknown)


IMAGE_FIELDS = (
    ImageField("phase", "phase", "rad", "phase", lambda rows: rows.phase),
    ImageField("displacement", "x", "px", "displacement right", lambda r: r.displacement.ux_px),
    ImageField("displacement", "y", "px", "displacement down", lambda r: r.displacement.uy_px),
    ImageField(
        "displacement", "sigma_x", "px", "uncertainty of x", lambda r: r.displacement.sigma_x_px
    ),
    ImageField(
        "displacement", "sigma_y", "px", "uncertainty of y", lambda r: r.displacement.sigma_y_px
    ),
    ImageField("refraction", "x", "rad", "refraction right", _refraction_x),
    ImageField("refraction", "y", "rad", "refraction down", _refraction_y),
    ImageField(
        "transmission", "transmission", "", "transmission", lambda r: r.displacement.transmission
    ),
    ImageField("dark_field", "dark_field", "", "dark field", lambda r: r.displacement.dark_field),
)

COLUMNS = (
    Column("timestamp", np.float64, "s", lambda rows: rows.timestamps_s),
    Column(
        "reference_id",
        h5py.string_dtype("utf-8", TEXT_BYTES),
        None,
        lambda rows: [fixed_text(name) for name in rows.reference_ids],
    ),
    Column("valid_fraction", np.float32, "", lambda rows: rows.quality.valid_fraction),
    Column("sigma_median", np.float32, "px", lambda rows: rows.quality.sigma_median_px),
    Column("drift_x", np.float32, "px", lambda rows: rows.drifts_px[:, 0]),
    Column("drift_y", np.float32, "px", lambda rows: rows.drifts_px[:, 1]),
    Column("monitor", np.float64, "", lambda rows: _scale(rows).monitor),
    Column("reference_monitor", np.float64, "", lambda rows: _scale(rows).reference_monitor),
    Column("transmission_scale", np.float64, "", lambda rows: _scale(rows).scale),
    Column("waiting_time", np.float32, "s", lambda rows: rows.times.waiting_s),
    Column("tracking_time", np.float32, "s", lambda rows: rows.times.tracking_s),
    Column("phase_time", np.float32, "s", lambda rows: rows.times.phase_s),
    Column("copying_time", np.float32, "s", lambda rows: rows.times.copying_s),
)


def written_groups(header: ScanHeader, settings: OutputSettings) -> tuple[OutputField, ...]:
    """The NXdata groups of a file; phase first, as the one to show."""
    groups = dict.fromkeys(field.group for field in IMAGE_FIELDS)
    return tuple(
        group
        for group in groups
        if group in settings.write and (header.geometry is not None or group not in NEEDS_GEOMETRY)
    )


def written_images(header: ScanHeader, settings: OutputSettings) -> tuple[ImageField, ...]:
    """The image datasets of a file."""
    groups = written_groups(header, settings)
    return tuple(
        field
        for field in IMAGE_FIELDS
        if field.group in groups and (header.tracker.has_sigma or field.name not in SIGMAS)
    )


def fixed_text(text: str) -> bytes:
    """UTF-8 that fits a fixed-length dataset, cut between characters if need be."""
    return text.encode()[:TEXT_BYTES].decode(errors="ignore").encode()
