"""Result files: exact layout, followed live by a second process, and what a fault leaves behind.

Run as a script, this file is that second process: a reader (`follow`, `hammer`) or a writer
(`write`, `fill`).
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filter for the readers below
import numpy as np
import pytest

from cade.displacement import Displacement
from cade.errors import CadeError
from cade.files import read_beamline
from cade.frames import Beamline, Reason, Rejected
from cade.geometry import Geometry, refraction_angle
from cade.version import __version__
from daemon.recording.results import ResultRows, StageTimes, measure_quality
from daemon.recording.scan_header import Parameter, ScanHeader, TrackerProvenance
from daemon.recording.writer import ResultWriter
from daemon.settings import ALL_FIELDS, OutputSettings

ROOT = Path(__file__).parents[2]
SHAPE = (48, 64)
GEOMETRY = Geometry(30e3, 2.0, 12e-6, source_distance_m=1.0)
HEADER = ScanHeader(
    series_id="scan 7",
    start_time_s=1_767_323_045.0,
    shape=SHAPE,
    geometry=GEOMETRY,
    tracker=TrackerProvenance(
        "cade",
        "1.2",
        "cade-q",
        "ab" * 32,
        has_sigma=True,
        parameters=(Parameter("tile", 256, "px"),),
    ),
    configuration_toml='[tracker]\nname = "cade"\n',
    corrections=(Parameter("flat", True), Parameter("saturation", 65535.0)),
    exposure_s=0.1,
)
SETTINGS = OutputSettings(proposal="mx1")


def make_rows(first: int, count: int = 1, *, geometry: Geometry | None = GEOMETRY) -> ResultRows:
    """Rows whose every value is their image id, except one invalid pixel in each."""
    ids = np.arange(first, first + count)
    image = np.broadcast_to(ids[:, None, None].astype(np.float32), (count, *SHAPE))
    valid = np.ones(image.shape, bool)
    valid[:, 3, 5] = False
    field = np.where(valid, image, np.float32(np.nan))
    displacement = Displacement(field, field, valid, field, field, field, field)
    times = np.full(count, 0.25)
    return ResultRows(
        series_id=HEADER.series_id,
        image_ids=ids,
        timestamps_s=(HEADER.start_time_s + ids).astype(np.float64),
        reference_ids=("reference-1",) * count,
        displacement=displacement,
        refraction=None if geometry is None else refraction_angle(displacement, geometry),
        phase=None if geometry is None else np.array(image),
        quality=measure_quality(displacement),
        times=StageTimes(times, times, times, times),
        drifts_px=np.stack([ids, -ids], axis=1),
    )


def written(
    path: Path,
    header: ScanHeader = HEADER,
    settings: OutputSettings = SETTINGS,
    *batches: ResultRows,
) -> Path:
    with ResultWriter(path, header, settings) as writer:
        for rows in batches or (make_rows(0, 3), make_rows(3, 2)):
            writer.append(rows)
        writer.reject(Rejected(header.series_id, 5, Reason.SATURATED, "too bright"))
    return path


# ---------------------------------------------------------------- layout


LAYOUT = {  # path: (NX_class | dtype kind, shape, units)
    "entry": "NXentry",
    "entry/phase": "NXdata",
    "entry/phase/phase": ("f4", (5, *SHAPE), "rad"),
    "entry/phase/frame": ("i8", (5,), ""),
    "entry/phase/y": ("f8", SHAPE[:1], "m"),
    "entry/phase/x": ("f8", SHAPE[1:], "m"),
    "entry/displacement": "NXdata",
    "entry/displacement/x": ("f4", (5, *SHAPE), "px"),
    "entry/displacement/y": ("f4", (5, *SHAPE), "px"),
    "entry/displacement/sigma_x": ("f4", (5, *SHAPE), "px"),
    "entry/displacement/sigma_y": ("f4", (5, *SHAPE), "px"),
    "entry/refraction": "NXdata",
    "entry/refraction/x": ("f4", (5, *SHAPE), "rad"),
    "entry/refraction/y": ("f4", (5, *SHAPE), "rad"),
    "entry/transmission": "NXdata",
    "entry/transmission/transmission": ("f4", (5, *SHAPE), ""),
    "entry/dark_field": "NXdata",
    "entry/dark_field/dark_field": ("f4", (5, *SHAPE), ""),
    "entry/frames": "NXcollection",
    "entry/frames/image_id": ("i8", (5,), ""),
    "entry/frames/timestamp": ("f8", (5,), "s"),
    "entry/frames/reference_id": ("S128", (5,), None),
    "entry/frames/valid_fraction": ("f4", (5,), ""),
    "entry/frames/sigma_median": ("f4", (5,), "px"),
    "entry/frames/drift_x": ("f4", (5,), "px"),
    "entry/frames/drift_y": ("f4", (5,), "px"),
    "entry/frames/monitor": ("f8", (5,), ""),
    "entry/frames/reference_monitor": ("f8", (5,), ""),
    "entry/frames/transmission_scale": ("f8", (5,), ""),
    "entry/frames/waiting_time": ("f4", (5,), "s"),
    "entry/frames/tracking_time": ("f4", (5,), "s"),
    "entry/frames/phase_time": ("f4", (5,), "s"),
    "entry/frames/copying_time": ("f4", (5,), "s"),
    "entry/rejected": "NXcollection",
    "entry/rejected/image_id": ("i8", (1,), ""),
    "entry/rejected/reason": ("S128", (1,), None),
    "entry/instrument": "NXinstrument",
    "entry/instrument/detector": "NXdetector",
    "entry/instrument/detector/x_pixel_size": ("f8", (), "m"),
    "entry/instrument/detector/y_pixel_size": ("f8", (), "m"),
    "entry/instrument/detector/distance": ("f8", (), "m"),
    "entry/instrument/detector/count_time": ("f8", (), "s"),
    "entry/instrument/source": "NXsource",
    "entry/instrument/source/distance": ("f8", (), "m"),
    "entry/instrument/beam": "NXbeam",
    "entry/instrument/beam/incident_energy": ("f8", (), "eV"),
    "entry/instrument/beam/incident_wavelength": ("f8", (), "m"),
    "entry/instrument/propagation_distance": ("f8", (), "m"),
    "entry/instrument/source_distance": ("f8", (), "m"),
    "entry/instrument/magnification": ("f8", (), ""),
    "entry/sample": "NXsample",
    "entry/configuration": "NXnote",
    "entry/process_1_correction": "NXprocess",
    "entry/process_1_correction/parameters": "NXparameters",
    "entry/process_1_correction/parameters/saturation": ("f8", (), ""),
    "entry/process_2_displacement": "NXprocess",
    "entry/process_2_displacement/parameters/tile": ("i8", (), "px"),
    "entry/process_3_refraction": "NXprocess",
    "entry/process_4_phase": "NXprocess",
    "entry/process_4_phase/parameters/energy": ("f8", (), "eV"),
}


def test_layout(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "scan.h5")) as file:
        assert file.attrs["default"] == "entry"
        assert file.attrs["creator"] == "cade-daemon"
        assert file.attrs["creator_version"] == __version__
        assert file["entry"].attrs["default"] == "phase"
        for path, expected in LAYOUT.items():
            node = file[path]
            if isinstance(expected, str):
                assert node.attrs["NX_class"] == expected, path
            else:
                found = (node.dtype.str.lstrip("<|"), node.shape, node.attrs.get("units"))
                assert found == expected, path
        assert list(file["entry/phase"].attrs["axes"]) == ["frame", "y", "x"]
        assert list(file["entry/transmission"].attrs["axes"]) == ["frame", "y", "x"]
        assert list(file["entry/displacement"].attrs["axes"]) == [
            "frame",
            "position_y",
            "position_x",
        ]
        assert list(file["entry/displacement"].attrs["auxiliary_signals"]) == ["y"]
        signals = {name: file[f"entry/{name}"].attrs["signal"] for name in ALL_FIELDS}
        assert signals == {
            "phase": "phase",
            "displacement": "x",
            "refraction": "x",
            "transmission": "transmission",
            "dark_field": "dark_field",
        }


def test_every_number_has_units_and_every_image_is_a_chunk(tmp_path: Path) -> None:
    def check(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            if node.dtype.kind in "iuf":
                assert "units" in node.attrs, name
            if node.ndim == 3:
                assert node.chunks == (1, *SHAPE), name
                assert node.maxshape == (None, *SHAPE), name
                assert node._filters.keys() == {"32008"}, name  # bitshuffle

    with h5py.File(written(tmp_path / "scan.h5")) as file:
        file.visititems(check)


def test_values(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "scan.h5")) as file:
        entry = file["entry"]
        ids = np.arange(5)
        np.testing.assert_array_equal(entry["frames/image_id"], ids)
        np.testing.assert_array_equal(entry["frames/timestamp"], HEADER.start_time_s + ids)
        np.testing.assert_array_equal(entry["frames/sigma_median"], ids)
        np.testing.assert_allclose(entry["frames/valid_fraction"], 1 - 1 / np.prod(SHAPE))
        assert set(entry["frames/reference_id"].asstr()) == {"reference-1"}
        assert entry["rejected/image_id"][0] == 5
        assert entry["rejected/reason"].asstr()[0] == "saturated"
        np.testing.assert_allclose(entry["phase/x"], np.arange(SHAPE[1]) * 12e-6 / 3, rtol=1e-12)
        for name, factor in (("phase/phase", 1), ("displacement/y", 1), ("refraction/x", 6e-6)):
            images = entry[name][()]
            assert np.isnan(images[:, 3, 5]).all()  # the phase itself was given there, too
            np.testing.assert_allclose(images[:, 0, 0], ids * factor, rtol=1e-6)
            assert np.isfinite(images).sum() == images.size - 5


def test_provenance(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "scan.h5")) as file:
        entry = file["entry"]

        def text(name: str) -> str:
            return str(entry[name].asstr()[()])

        assert text("title") == "scan 7"
        assert text("experiment_identifier") == "mx1"
        assert text("start_time") == "2026-01-02T03:04:05+00:00"
        assert text("end_time") == "2026-01-02T03:04:09+00:00"
        assert text("configuration/data") == HEADER.configuration_toml
        assert text("process_2_displacement/parameters/weights") == "cade-q"
        assert text("process_2_displacement/parameters/weights_sha256") == "ab" * 32
        assert text("instrument/diffuser") == "upstream"
        for index, name in enumerate(("correction", "displacement", "refraction", "phase"), 1):
            step = f"process_{index}_{name}"
            assert entry[f"{step}/sequence_index"][()] == index
            assert text(f"{step}/date") == "2026-01-02T03:04:05+00:00"
            assert text(f"{step}/configuration/data") == HEADER.configuration_toml
            program = ("cade", "1.2") if index == 2 else ("cade-daemon", __version__)
            assert (text(f"{step}/program"), text(f"{step}/version")) == program


def test_the_file_says_the_optics_it_was_made_with(tmp_path: Path) -> None:
    assert read_beamline(written(tmp_path / "scan.h5")) == Beamline(30e3, 12e-6, 2.0, 1.0, 0.1)
    parallel = replace(HEADER, geometry=replace(GEOMETRY, source_distance_m=np.inf))
    assert read_beamline(written(tmp_path / "p.h5", parallel)).source_distance_m is None


def test_nexusformat_plots_the_phase(tmp_path: Path) -> None:
    from nexusformat.nexus import nxload

    path = written(tmp_path / "scan.h5")
    with nxload(str(path)) as root:
        assert root.get_default().nxpath == "/entry/phase"
        data = root.plottable_data
        assert data.nxsignal.nxname == "phase"
        assert [axis.nxname for axis in data.nxaxes] == ["frame", "y", "x"]
        assert data.nxsignal.shape == (5, *SHAPE)


# ---------------------------------------------------------------- choices


@pytest.mark.parametrize(
    ("compression", "filters"), [("gzip", {"shuffle", "gzip"}), ("none", set())]
)
def test_compression(tmp_path: Path, compression: Any, filters: set[str]) -> None:
    settings = OutputSettings(compression=compression)
    with h5py.File(written(tmp_path / "scan.h5", HEADER, settings)) as file:
        assert file["entry/phase/phase"]._filters.keys() == filters
        np.testing.assert_array_equal(file["entry/phase/phase"][:, 0, 0], np.arange(5))


def test_only_chosen_fields_are_written(tmp_path: Path) -> None:
    settings = OutputSettings(write=("dark_field", "displacement"))
    with h5py.File(written(tmp_path / "scan.h5", HEADER, settings)) as file:
        entry = file["entry"]
        assert {name for name in ALL_FIELDS if name in entry} == {"dark_field", "displacement"}
        assert entry.attrs["default"] == "displacement"


def test_no_field_at_all_still_keeps_the_accounts(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "scan.h5", HEADER, OutputSettings(write=()))) as file:
        assert "default" not in file["entry"].attrs
        assert file["entry/frames/image_id"].shape == (5,)


def test_without_geometry_only_displacement_on_pixel_axes(tmp_path: Path) -> None:
    header = replace(HEADER, geometry=None)
    path = written(tmp_path / "scan.h5", header, SETTINGS, make_rows(0, 2, geometry=None))
    with h5py.File(path) as file:
        entry = file["entry"]
        assert entry.attrs["default"] == "displacement"
        assert not {"phase", "refraction", "process_3_refraction"} & set(entry)
        axis = entry["displacement/position_x"]
        assert axis.attrs["units"] == "px"
        np.testing.assert_array_equal(axis, np.arange(SHAPE[1]))


def test_tracker_without_sigma_or_weights(tmp_path: Path) -> None:
    header = replace(HEADER, tracker=TrackerProvenance("zncc", "1"))
    rows = make_rows(0)
    bare = replace(rows.displacement, sigma_x_px=None, sigma_y_px=None)
    rows = replace(rows, displacement=bare, quality=measure_quality(bare))
    with h5py.File(written(tmp_path / "scan.h5", header, SETTINGS, rows)) as file:
        assert "sigma_x" not in file["entry/displacement"]
        assert np.isnan(file["entry/frames/sigma_median"][0])
        assert len(file["entry/process_2_displacement/parameters"]) == 0


def test_quality_without_a_valid_pixel() -> None:
    displacement = replace(make_rows(0).displacement, valid=np.zeros((1, *SHAPE), bool))
    quality = measure_quality(displacement)
    assert quality.valid_fraction[0] == 0
    assert np.isnan(quality.sigma_median_px[0])


def test_long_identifiers_are_cut_between_characters(tmp_path: Path) -> None:
    rows = replace(make_rows(0), reference_ids=("µ" * 100,))
    with h5py.File(written(tmp_path / "scan.h5", HEADER, SETTINGS, rows)) as file:
        assert file["entry/frames/reference_id"].asstr()[0] == "µ" * 64


@pytest.mark.parametrize(
    "rows",
    [
        replace(make_rows(1), phase=None),
        replace(make_rows(1), phase=np.zeros((1, 5, 5), np.float32)),
        replace(make_rows(1), image_ids=np.arange(2)),
        replace(make_rows(1), series_id="another"),
        replace(make_rows(1, 2), timestamps_s=np.zeros(1)),
    ],
    ids=["missing", "shape", "count", "series", "column"],
)
def test_rows_that_do_not_fit_write_nothing(tmp_path: Path, rows: ResultRows) -> None:
    path = tmp_path / "scan.h5"
    with ResultWriter(path, HEADER, SETTINGS) as writer:
        writer.append(make_rows(0))
        with pytest.raises(ValueError, match=r"needs shape|of series|1 values for 2 rows"):
            writer.append(rows)
        writer.append(make_rows(1))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["entry/frames/image_id"], [0, 1])
        assert file["entry/dark_field/dark_field"].shape[0] == 2


# ---------------------------------------------------------------- other processes


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def check_complete(entry: h5py.Group, start: int = 0) -> int:
    """Every row that image_id counts is there, with its own values; gives their number."""
    ids = entry["frames/image_id"]
    ids.refresh()
    count = int(ids.shape[0])
    np.testing.assert_array_equal(ids[start:count], np.arange(start, count))
    for group in (*ALL_FIELDS, "frames"):
        for dataset in entry[group].values():
            if dataset.ndim == 3 or group == "frames":
                dataset.refresh()
                assert dataset.shape[0] >= count, dataset.name
    for row in range(start, count):
        for name in ("phase/phase", "displacement/sigma_y", "dark_field/dark_field"):
            image = entry[name][row]
            assert np.isnan(image[3, 5])
            assert np.nansum(image) == row * (image.size - 1)
        assert entry["frames/reference_id"].asstr()[row] == "reference-1"
    return count


def follow(path: str, total: int) -> None:
    """The reading process: a line for every new number of complete rows, up to `total`."""
    seen = 0
    with h5py.File(path, "r", swmr=True) as file:
        print("open", flush=True)
        while seen < total:
            count = check_complete(file["entry"], seen)
            if count > seen:
                print(count, flush=True)
            seen = count


def write(path: str) -> None:
    """The writing process: a line after every row, until it is killed."""
    with ResultWriter(Path(path), HEADER, SETTINGS) as writer:
        while True:
            writer.append(make_rows(writer.row_count))
            writer.reject(Rejected(HEADER.series_id, writer.row_count, Reason.EMPTY, ""))
            print(writer.row_count, flush=True)


def test_a_second_process_follows(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with (
        ResultWriter(path, HEADER, SETTINGS) as writer,
        process("follow", str(path), "40") as reader,
    ):
        assert line(reader) == "open"
        for count in (1, 2, 3):  # in step
            writer.append(make_rows(writer.row_count))
            assert line(reader) == str(count)
        while writer.row_count < 40:  # as fast as it goes
            writer.append(make_rows(writer.row_count))
        assert reader.communicate()[0].split()[-1] == "40"
        assert reader.returncode == 0


def test_a_killed_writer_leaves_complete_rows(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with process("write", str(path)) as child:
        reported = [int(line(child)) for _ in range(5)]
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert reported == [1, 2, 3, 4, 5]
    with h5py.File(path, "r", swmr=True) as file:
        assert check_complete(file["entry"]) >= 5
        assert file["entry/configuration/data"].asstr()[()] == HEADER.configuration_toml
        assert file["entry/end_time"].asstr()[()] == ""
        assert file["entry/rejected/reason"].asstr()[0] == "empty"


def hammer(path: str, mode: str) -> None:
    """Open the file again and again, from before it is there, in a way that takes HDF5's locks."""
    print("ready", flush=True)
    met = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        try:
            with h5py.File(path, "r", swmr=mode == "swmr"):
                met += 1
        except FileNotFoundError:
            continue
        except OSError:  # open for writing
            met += 1
    print(met, flush=True)


@pytest.mark.parametrize("mode", ["swmr", "plain"])
def test_readers_that_open_the_file_at_once_do_not_disturb(tmp_path: Path, mode: str) -> None:
    paths = [tmp_path / f"scan_{number}.h5" for number in range(12)]
    with process("hammer", str(tmp_path / "next.h5"), mode) as reader:
        assert line(reader) == "ready"
        for path in paths:
            (tmp_path / "next.h5").unlink(missing_ok=True)
            with ResultWriter(tmp_path / "next.h5", HEADER, SETTINGS) as writer:
                for _ in range(2):
                    writer.append(make_rows(writer.row_count))
                writer.reject(REJECTED)
            os.link(tmp_path / "next.h5", path)
        met = int(reader.communicate("stop\n")[0])
    assert met > 0
    for path in paths:
        with h5py.File(path, "r") as file:
            assert check_complete(file["entry"]) == 2
    assert sorted(tmp_path.iterdir()) == sorted([*paths, tmp_path / "next.h5"]), "nothing hidden"


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    path = written(tmp_path / "scan.h5")
    with pytest.raises(CadeError, match=r"scan\.h5: exists already"):
        ResultWriter(path, HEADER, SETTINGS)
    with h5py.File(path, "r") as file:
        assert check_complete(file["entry"]) == 5
    assert list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------- disks that fail


def fill(path: str, limit: str) -> None:
    """Write until the disk, or the largest file that this process may make, is full."""
    settings = OutputSettings(compression="none")
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), largest))
    writer = None
    try:
        writer = ResultWriter(Path(path), HEADER, settings)
        while True:
            writer.append(make_rows(writer.row_count))
    except CadeError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    if writer is None:
        return
    print(writer.row_count)
    for again in (partial(writer.append, make_rows(0)), partial(writer.reject, REJECTED)):
        try:
            again()
        except CadeError as error:
            print(error)
    writer.close()
    try:
        with ResultWriter(Path(path).with_name("next.h5"), HEADER, settings):
            print("goes on")
    except CadeError as error:
        print(error)


REJECTED = Rejected(HEADER.series_id, 1, Reason.EMPTY, "")
UNLIMITED = -1


def check_filled(path: Path, limit: int, cause: str) -> str:
    """Fill, check what the first file holds, and give what became of the next one."""
    with process("fill", str(path), str(limit)) as child:
        first, count, *again, following = child.communicate()[0].splitlines()
        assert child.returncode == 0, "HDF5 crashes at exit when it still has something to write"
    assert int(count) > 2
    assert first.startswith(f"{path}: cannot be written ({cause}); {count} complete rows")
    assert len(again) == 2
    assert all("is closed, or was given up" in line for line in again)
    with h5py.File(path, "r", swmr=True) as file:
        assert check_complete(file["entry"]) == int(count)
    return following


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    assert check_filled(tmp_path / "scan.h5", 700_001, "File too large") == "goes on"


def test_no_room_to_create(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with process("fill", str(path), "3000") as child:
        output = child.communicate()[0]
        assert child.returncode == 0
    assert output.startswith(f"{path}: cannot be created (File too large)")
    assert not path.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk(small_disk: Path) -> None:
    following = check_filled(small_disk / "scan.h5", UNLIMITED, "No space left on device")
    assert "next.h5: cannot be created (No space left on device)" in following
    assert not (small_disk / "next.h5").exists()


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    path.write_bytes(b"precious")
    with pytest.raises(CadeError, match=r"scan\.h5: exists already"):
        ResultWriter(path, HEADER, SETTINGS)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("folder", ["/proc/cade", "a file/below", "a file"])
def test_folders_that_cannot_be_written(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a file").touch()
    path = tmp_path / folder / "scan.h5"
    with pytest.raises(CadeError, match=r"scan\.h5: cannot be created \(.+\); set output\.root"):
        ResultWriter(path, HEADER, SETTINGS)


def test_missing_folders_are_made_and_close_may_be_repeated(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path / "a/b/scan.h5", HEADER, SETTINGS)
    writer.close()
    writer.close()
    with pytest.raises(CadeError, match="closed"):
        writer.reject(REJECTED)
    with h5py.File(tmp_path / "a/b/scan.h5") as file:
        assert file["entry/phase/phase"].shape == (0, *SHAPE)


if __name__ == "__main__":
    if sys.argv[1] == "follow":
        follow(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "write":
        write(sys.argv[2])
    elif sys.argv[1] == "hammer":
        hammer(sys.argv[2], sys.argv[3])
    else:
        fill(sys.argv[2], sys.argv[3])
