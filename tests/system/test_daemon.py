"""The daemon as a process, between real sockets, real folders and real files."""

from __future__ import annotations

import itertools
import signal
import socket
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zmq
from numpy.typing import NDArray

from cade.frames import Beamline, Role
from simulator.emulated_series import EmulatedSeries
from simulator.emulator import Emulator, EmulatorSummary
from simulator.faults import Faults
from tests.daemon_process import (
    PATIENCE_S,
    Daemon,
    Line,
    cade,
    check_account,
    configuration,
    rejected_in,
    rows_in,
)
from tests.speckle import counts, moved, speckle

BEAMLINE = Beamline(energy_ev=3e4, pixel_size_m=1e-5)
SHIFTS = [(0.05 * n, 0.3 - 0.1 * n) for n in range(8)]
REFERENCES = [counts(speckle() + n) for n in range(3)]
SAMPLES = [counts(moved(speckle(), *shift)) for shift in SHIFTS]
FIELDS = (
    "displacement/x",
    "displacement/y",
    "refraction/x",
    "phase/phase",
    "transmission/transmission",
    "dark_field/dark_field",
)


def stream(endpoint: str, **more: object) -> Line:
    return {"kind": "stream", "format": "dectris-v2", "endpoint": endpoint, **more}


def emulator(wire_format: str = "dectris-v2", **options: Any) -> Emulator:
    return Emulator(
        wire_format, "tcp://127.0.0.1:*", beamline=BEAMLINE, timeout_s=PATIENCE_S, **options
    )


def images(role: Role, frames: list[NDArray[Any]]) -> EmulatedSeries:
    return EmulatedSeries(role, len(frames), frames)


def check_displacement(path: Path, samples: Sequence[int] = range(len(SHIFTS))) -> None:
    """Every row shows the shift of its sample."""
    with h5py.File(path, "r") as file:
        for name, component in (("x", 0), ("y", 1)):
            found = file["entry/displacement"][name][()]
            medians = np.nanmedian(found, axis=(1, 2))
            np.testing.assert_allclose(medians, np.array(SHIFTS)[samples, component], atol=0.05)


def check_like_process(
    path: Path, folder: Path, config: Path, references: list[int], samples: list[int]
) -> None:
    """`cade process` makes the same of the same arrays, with the same settings."""
    np.save(folder / "references.npy", np.stack([REFERENCES[n] for n in references]))
    np.save(folder / "samples.npy", np.stack([SAMPLES[n] for n in samples]))
    output = folder / "process.h5"
    words = ["--reference", f"{folder}/references.npy", "--sample", f"{folder}/samples.npy"]
    words += ["--output", str(output), "--config", str(config)]
    done = cade("process", *words, "--energy-kev", "30", "--pixel-um", "10")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{output}: {len(samples)} rows\n"
    with h5py.File(path, "r") as live, h5py.File(output, "r") as stored:
        for name in FIELDS:
            assert live[f"entry/{name}"].shape == (len(samples), *SAMPLES[0].shape)
            np.testing.assert_allclose(
                live[f"entry/{name}"][()], stored[f"entry/{name}"][()], rtol=1e-5, atol=1e-6
            )


class Follower:
    """Reads a growing file, and lets the detector send on only when rows have become visible."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = threading.Condition()
        self._rows = 0
        self.lengths: list[int] = []

    def paced(self, frames: Iterable[NDArray[Any]], ahead: int) -> Iterator[NDArray[Any]]:
        """Frames, the next one when all but `ahead` of those before are in the file."""
        for number, frame in enumerate(frames):
            with self._seen:
                assert self._seen.wait_for(
                    lambda needed=number - ahead: self._rows >= needed,  # type: ignore[misc]
                    PATIENCE_S,
                )
            yield frame

    def look(self, total: int) -> bool:
        """Whether all rows are there; what is visible is complete."""
        rows = rows_in(self._path)
        if rows:
            with h5py.File(self._path, "r", swmr=True) as file:
                for name in FIELDS:
                    assert np.isfinite(file[f"entry/{name}"][rows - 1]).any()
        self.lengths.append(rows)
        with self._seen:
            self._rows = rows
            self._seen.notify_all()
        return rows >= total


def test_stream_to_file_among_faults(tmp_path: Path) -> None:
    faults = Faults(drop=1, duplicate=1, truncate=1, corrupt=2, wrong_shape=1, stray=2)
    path = tmp_path / "output/scan.h5"
    follower = Follower(path)
    sent: list[EmulatorSummary] = []
    with emulator(compression="bslz4") as detector:
        config = configuration(tmp_path, [stream(detector.endpoint)])
        # Three of the samples may meet a fault that costs them, and have no row.
        series = [
            images(Role.REFERENCE, REFERENCES),
            EmulatedSeries(Role.SAMPLE, len(SAMPLES), follower.paced(SAMPLES, 6)),
        ]
        sender = threading.Thread(
            target=lambda: sent.append(detector.publish(series, faults, seed=5))
        )
        with Daemon(config) as daemon:
            sender.start()
            daemon.wait_until(lambda: follower.look(2) and bool(sent), "the detector")
            sender.join(PATIENCE_S)
            references, samples = sent[0].series
            daemon.wait_until(lambda: follower.look(len(samples.sent)), "all rows")
            daemon.wait_for("series ended", count=2)
            daemon.wait_for("frame rejected", reason="no_series", count=2)
            stopped = daemon.stop()
    assert follower.lengths == sorted(follower.lengths)
    assert len(set(follower.lengths)) > 2, "it was seen to grow"
    expected = sent[0].expected
    rejected = {str(reason): count for reason, count in expected.rejected.items()}
    check_account(stopped, written=len(samples.sent), kept=len(references.sent), **rejected)
    assert stopped["missing"] == expected.missing > 0
    # Those among the references belong to no file; the strays came after the end of theirs.
    in_series = [(n, reason) for n, reason in samples.rejections if reason != "no_series"]
    assert sorted(rejected_in(path)) == sorted(in_series)
    [opened] = daemon.logged("file opened")
    logged = [line["reason"] for line in daemon.logged("frame rejected", series=opened["series"])]
    assert len(logged) == len(set(logged)) > 2, "one line a reason"
    with h5py.File(path, "r") as file:
        assert file["entry/frames/image_id"][()].tolist() == sorted(samples.sent)
    check_displacement(path, sorted(samples.sent))
    check_like_process(path, tmp_path, config, sorted(references.sent), sorted(samples.sent))


def test_array_1_0_over_pub(tmp_path: Path) -> None:
    """A format without starts and ends; the series ends with the daemon."""
    path = tmp_path / "output/scan.h5"
    optics = {"energy_ev": 3e4, "pixel_size_m": 1e-5}
    with emulator("array-1.0", socket="pub") as detector:
        source = stream(detector.endpoint, format="array-1.0", socket="sub")
        config = configuration(tmp_path, [source], geometry=optics)
        series = [images(Role.REFERENCE, REFERENCES), images(Role.SAMPLE, SAMPLES)]
        with Daemon(config) as daemon:
            sent = detector.publish(series, Faults(truncate=1, corrupt=2))
            references, samples = sent.series
            daemon.wait_until(lambda: rows_in(path) == len(samples.sent), "all rows")
            stopped = daemon.stop()
    check_account(stopped, written=len(samples.sent), kept=len(references.sent), malformed=3)
    assert stopped["missing"] == sent.expected.missing
    check_displacement(path, samples.sent)


def write_references(folder: Path) -> None:
    (folder / "ref").mkdir()
    for number, frame in enumerate(REFERENCES):
        tifffile.imwrite(folder / f"ref/{number}.tif", frame)


def write_samples(folder: Path) -> None:
    """As HDF5 and as TIFF, and a file of each that was cut short."""
    for name in ("tiff", "hdf5"):
        (folder / name).mkdir()
    for number, frame in enumerate(SAMPLES):
        tifffile.imwrite(folder / f"tiff/{number}.tif", frame)
    with h5py.File(folder / "hdf5/scan.h5", "w") as file:
        file["entry/data/data"] = np.stack(SAMPLES)
        file["entry/instrument/detector/x_pixel_size"] = 10.0
        file["entry/instrument/detector/x_pixel_size"].attrs["units"] = "um"
        file["entry/instrument/beam/incident_energy"] = 30.0
        file["entry/instrument/beam/incident_energy"].attrs["units"] = "keV"
    for path in (folder / "tiff/7.tif", folder / "hdf5/scan.h5"):
        cut = path.with_stem("x" + path.stem)
        cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("watch", ["events", "polling"])
def test_folder_to_files(tmp_path: Path, watch: str) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    source = {"kind": "folder", "path": str(folder), "watch": watch, "quiet_s": 0.2}
    source |= {"give_up_s": 0.6, "silence_s": 1.5, "poll_interval_s": 0.2}
    config = configuration(
        tmp_path, [source], output={"path": "{root}/{series}.h5"}, batch={"size": 4}
    )
    with Daemon(config) as daemon:
        daemon.wait_for("ready")
        write_references(folder)
        daemon.wait_for("series started", series="ref")
        write_samples(folder)
        for series in ("ref", "hdf5", "tiff"):
            daemon.wait_for("series ended", series=series)
        stopped = daemon.stop()
    files = {line["series"]: Path(line["file"]) for line in daemon.logged("file opened")}
    check_account(stopped, written=2 * len(SAMPLES), kept=len(REFERENCES), unreadable=2)
    assert set(files) == {"tiff", "hdf5"}
    for path in files.values():
        check_displacement(path)
        assert [reason for _, reason in rejected_in(path)] == ["unreadable"]
    with h5py.File(files["hdf5"], "r") as file:
        assert file["entry/phase/phase"].shape[0] == len(SAMPLES)
    with h5py.File(files["tiff"], "r") as file:
        assert "phase" not in file["entry"], "a TIFF says nothing of energy and pixel"
    [warning] = daemon.logged("no refraction and phase for this series")
    assert "geometry.energy_ev, geometry.pixel_size_m" in warning["problem"]
    for line in daemon.logged("frame rejected"):
        assert line["detail"].startswith(f"{folder}/{line['series']}/x")


def test_a_second_run_begins_a_file_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    for number, frame in enumerate(REFERENCES):
        np.save(folder / f"ref_{number}.npy", frame)
    np.save(folder / "scan.npy", np.stack(SAMPLES))
    source = {"kind": "folder", "path": str(folder), "quiet_s": 0.0}
    config = configuration(tmp_path, [source])
    first, second = (tmp_path / "output" / name for name in ("scan.h5", "scan_1.h5"))
    content = b""
    for path in (first, second):
        with Daemon(config) as daemon:
            daemon.wait_until(lambda path=path: rows_in(path) == len(SAMPLES), "all rows")  # type: ignore[misc]
            check_account(daemon.stop(), written=len(SAMPLES), kept=len(REFERENCES))
        content = content or first.read_bytes()
    assert first.read_bytes() == content
    check_displacement(second)


def take_the_rest(endpoint: str, sender: threading.Thread) -> None:
    """Receive what the daemon has left, so that the sender can end."""
    with zmq.Context() as context, context.socket(zmq.PULL) as receiver:
        receiver.connect(endpoint)
        while sender.is_alive() or receiver.poll(100):
            if receiver.poll(100):
                receiver.recv_multipart()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_in_the_middle_finishes_what_has_come(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "output/scan.h5"
    with emulator(compression="bslz4") as detector:
        config = configuration(tmp_path, [stream(detector.endpoint, queue_bytes=50_000)])
        follower = Follower(path)
        go = threading.Event()

        def endless() -> Iterator[NDArray[Any]]:
            for index in itertools.count():
                if index == len(SAMPLES):
                    go.wait(PATIENCE_S)
                yield SAMPLES[index % len(SAMPLES)]

        series = [images(Role.REFERENCE, REFERENCES), EmulatedSeries(Role.SAMPLE, 60, endless())]
        sender = threading.Thread(target=detector.publish, args=(series,))
        with Daemon(config) as daemon:
            sender.start()
            daemon.wait_until(lambda: follower.look(2), "rows")
            go.set()
            stopped = daemon.stop(number)
        check_account(stopped, written=stopped["written"], kept=len(REFERENCES))
        assert 2 <= stopped["written"] <= 60
        take_the_rest(detector.endpoint, sender)
    with h5py.File(path, "r") as file:
        assert len(file["entry/frames/image_id"]) == stopped["written"]
        assert file["entry/end_time"][()]


@pytest.fixture
def manager() -> Iterator[tuple[str, list[str]]]:
    """systemd's end of the notification socket: its address, and what has come."""
    address, messages = f"@cade-{uuid.uuid4()}", list[str]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address.replace("@", "\0", 1))

        def receive() -> None:
            while message := receiver.recv(4096).decode():
                messages.append(message)

        thread = threading.Thread(target=receive)
        thread.start()
        yield address, messages
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", address.replace("@", "\0", 1))
        thread.join(PATIENCE_S)


def test_idle_under_systemd(tmp_path: Path, manager: tuple[str, list[str]]) -> None:
    address, messages = manager
    config = configuration(tmp_path, [stream("tcp://127.0.0.1:1")])
    with Daemon(config, NOTIFY_SOCKET=address) as daemon:
        daemon.wait_until(lambda: messages.count("WATCHDOG=1") > 1, "two beats")
        check_account(daemon.stop())
    assert messages[0] == "READY=1\nSTATUS=waiting for frames"
    beats = [m for m in messages if m == "WATCHDOG=1"]
    assert [m for m in messages if m != "WATCHDOG=1"][1:] == [
        "STATUS=0 written, 0 kept, 0 rejected, 0 waiting",
        "STOPPING=1\nSTATUS=finishing the frames that wait",
        "EXTEND_TIMEOUT_USEC=40000000",
    ]
    assert len(beats) > 1
