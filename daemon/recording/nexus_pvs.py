"""What process variables said, in a result file: once for a series, and for every frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import h5py
import numpy as np

from cade.reading import Metadata, Reading
from daemon.recording.result_fields import TEXT_BYTES, Column, fixed_text
from daemon.recording.results import ResultRows


def write_series_readings(entry: h5py.Group, metadata: Metadata) -> None:
    """Write `/entry/pv`, one dataset a PV, with its time stamp and whether it was connected.

    What was missing is NaN or empty, and the attribute `problem` says why.
    """
    if not metadata.readings:
        return
    group = entry.create_group("pv")
    group.attrs["NX_class"] = "NXcollection"
    for reading in metadata.readings:
        missing: float | str = "" if reading.is_text else math.nan
        value = missing if reading.value is None else reading.value
        dataset = group.create_dataset(reading.name, data=value)
        if not reading.is_text:
            dataset.attrs["units"] = reading.units
        dataset.attrs["pv"] = reading.pv
        dataset.attrs["connected"] = reading.connected
        dataset.attrs["alarm"] = reading.alarm
        dataset.attrs["problem"] = reading.problem
        if reading.timestamp_s is not None and reading.age_s is not None:
            dataset.attrs["timestamp"] = datetime.fromtimestamp(
                reading.timestamp_s, UTC
            ).isoformat()
            dataset.attrs["age_s"] = reading.age_s


def create_frame_readings(frames: h5py.Group, metadata: Metadata) -> None:
    """Make the group of `frame_columns` and say which PVs they are; the columns are there."""
    for reading in metadata.columns:
        frames["pv"].attrs["NX_class"] = "NXcollection"
        frames[f"pv/{reading.name}"].attrs["pv"] = reading.pv
        frames[f"pv/{reading.name}_timestamp"].attrs["start"] = "1970-01-01T00:00:00Z"


def frame_columns(metadata: Metadata) -> tuple[Column, ...]:
    """Datasets of `/entry/frames/pv`, all made before the first row.

    Of each PV its value, when that was stated, how old it was when the frame came, and whether
    the PV was connected then.
    """
    return tuple(
        column
        for index, reading in enumerate(metadata.columns)
        for column in _columns(index, reading)
    )


def _columns(index: int, reading: Reading) -> tuple[Column, ...]:
    name = f"pv/{reading.name}"
    value = (
        Column(
            name,
            h5py.string_dtype("utf-8", TEXT_BYTES),
            None,
            _each(index, lambda r: fixed_text(str(r.value or ""))),
        )
        if reading.is_text
        else Column(name, np.float64, reading.units, _each(index, lambda r: _number(r.value)))
    )
    return (
        value,
        Column(
            f"{name}_timestamp", np.float64, "s", _each(index, lambda r: _number(r.timestamp_s))
        ),
        Column(f"{name}_age", np.float64, "s", _each(index, lambda r: _number(r.age_s))),
        Column(f"{name}_connected", np.bool_, None, _each(index, lambda r: r.connected)),
    )


def _each(index: int, of: Callable[[Reading], Any]) -> Callable[[ResultRows], list[Any]]:
    """Of the reading at this place, in every row."""
    return lambda rows: [of(readings[index]) for readings in rows.readings]


def _number(value: float | str | None) -> float:
    return value if isinstance(value, float) else math.nan
