"""What PVs said, in a result file that another reader follows while it is written."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cade.displacement import Displacement
from cade.reading import Metadata, Reading
from daemon.recording.results import ResultRows, StageTimes, measure_quality
from daemon.recording.scan_header import ScanHeader, TrackerProvenance
from daemon.recording.writer import ResultWriter
from daemon.settings import OutputSettings

SHAPE = (3, 4)
ANGLE = Reading("angle", "T:a", 1.5, units="deg", timestamp_s=1.7e9, age_s=0.5, connected=True)
GRIT = Reading("grit", "T:g", "P600 µ", is_text=True, timestamp_s=1.7e9, age_s=2.0, connected=True)
LOST = Reading("mono", "T:e", None, units="keV", problem="is not connected")
NO_NAME = replace(GRIT, name="user", value=None, connected=False, problem="is not connected")
METADATA = Metadata(
    sample_name="moth", readings=(ANGLE, GRIT, LOST, NO_NAME), columns=(ANGLE, GRIT)
)
SETTINGS = OutputSettings(compression="none", proposal="mx1")


def header(metadata: Metadata) -> ScanHeader:
    return ScanHeader(
        "a", 1.7e9, SHAPE, None, TrackerProvenance("zncc", "1"), "", metadata=metadata
    )


def rows(*readings: tuple[Reading, ...]) -> ResultRows:
    count = len(readings)
    zeros, times = np.zeros((count, *SHAPE), "f4"), np.zeros(count)
    displacement: Displacement[Any] = Displacement(
        zeros, zeros, zeros == 0, transmission=zeros, dark_field=zeros
    )
    return ResultRows(
        series_id="a",
        image_ids=np.arange(count),
        timestamps_s=times,
        reference_ids=("r",) * count,
        displacement=displacement,
        refraction=None,
        phase=None,
        quality=measure_quality(displacement),
        times=StageTimes(times, times, times, times),
        drifts_px=np.full((count, 2), np.nan),
        readings=readings,
    )


def test_per_frame_values_are_followed_while_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    gone = replace(ANGLE, value=None, connected=False, age_s=9.0)
    with (
        ResultWriter(path, header(METADATA), SETTINGS) as writer,
        h5py.File(path, "r", swmr=True) as reader,
    ):
        frames = reader["entry/frames"]
        assert frames["pv/angle"].shape == (0,)
        writer.append(rows((ANGLE, GRIT), (gone, replace(GRIT, value=None))))
        for name in ("image_id", "pv/angle", "pv/angle_connected", "pv/angle_age", "pv/grit"):
            frames[name].refresh()
        assert frames["image_id"].shape == (2,)
        np.testing.assert_array_equal(frames["pv/angle"][()], [1.5, math.nan])
        assert frames["pv/angle_connected"][()].tolist() == [True, False]
        assert frames["pv/angle_age"][()].tolist() == [0.5, 9.0]
        assert frames["pv/grit"].asstr()[()].tolist() == ["P600 µ", ""]
        assert dict(frames["pv/angle"].attrs) == {"units": "deg", "pv": "T:a"}
        assert "units" not in frames["pv/grit"].attrs


def test_values_of_the_series(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    ResultWriter(path, header(METADATA), SETTINGS).close()
    with h5py.File(path) as file:
        group = file["entry/pv"]
        assert file["entry/sample/name"].asstr()[()] == "moth"
        assert group["angle"][()] == 1.5
        assert group["grit"].asstr()[()] == "P600 µ"
        assert math.isnan(group["mono"][()])
        assert group["user"].asstr()[()] == ""
        attributes = dict(group["angle"].attrs)
        assert attributes.pop("connected") == np.True_
        assert attributes == {
            "units": "deg", "pv": "T:a", "alarm": "", "problem": "", "age_s": 0.5,
            "timestamp": "2023-11-14T22:13:20+00:00",
        }  # fmt: skip
        assert group["mono"].attrs["problem"] == "is not connected"
        assert "timestamp" not in group["mono"].attrs


def test_without_pvs_there_is_nothing_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with ResultWriter(path, header(Metadata()), SETTINGS) as writer:
        writer.append(rows((), ()))
    with h5py.File(path) as file:
        assert "pv" not in file["entry"]
        assert "pv" not in file["entry/frames"]
        assert file["entry/sample/name"].asstr()[()] == "a"


def test_rows_without_their_readings_are_refused(tmp_path: Path) -> None:
    with ResultWriter(tmp_path / "a.h5", header(METADATA), SETTINGS) as writer:
        with pytest.raises(ValueError, match="frames/pv/angle has 0 values for 2 rows"):
            writer.append(replace(rows((), ()), readings=()))
        assert writer.row_count == 0
