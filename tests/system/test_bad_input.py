"""Bad input through the real commands: one clear line, the right exit code, nothing else lost."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import h5py
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from cade.frames import Beamline, Frame, Role, SeriesEnd, SeriesStart
from cade.wire import encoder
from daemon.commands import main
from models.cade_network import CadeNetwork
from models.weights_file import Card, save_weights
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
from tests.speckle import SHAPE, counts, moved, speckle

REFERENCE = counts(speckle())
SAMPLE = counts(moved(speckle(), 0.2, 0.1))
TIME_S = 1.7e9


class Detector:
    """A bound PUSH socket that sends whatever a test wants, in DECTRIS's format."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.sndtimeo = round(PATIENCE_S * 1000)
        self._socket.bind("tcp://127.0.0.1:*")
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._encoder = encoder("dectris-v2")

    @property
    def source(self) -> Line:
        return {"kind": "stream", "format": "dectris-v2", "endpoint": self.endpoint}

    def start(self, name: str, role: Role | None = None, dtype: str = "uint16") -> None:
        beamline = Beamline(energy_ev=3e4, pixel_size_m=1e-5)
        self.send(SeriesStart(name, TIME_S, 9, SHAPE, dtype, role, beamline))

    def image(self, name: str, number: int, data: NDArray[Any] = SAMPLE) -> None:
        self.send(Frame(name, number, data, TIME_S))

    def end(self, name: str) -> None:
        self.send(SeriesEnd(name))

    def series(self, name: str, images: list[NDArray[Any]], role: Role | None = None) -> None:
        self.start(name, role, images[0].dtype.name)
        for number, image in enumerate(images):
            self.image(name, number, image)
        self.end(name)

    def send(self, message: SeriesStart | Frame | SeriesEnd) -> None:
        self.send_parts(*self._encoder.encode(message))

    def send_parts(self, *parts: Any) -> None:
        self._socket.send_multipart(parts)

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


def complaint(done: Any) -> str:
    """The only line that is no log line."""
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith("cade: ")
    return str(line.removeprefix("cade: "))


def with_value(value: float, share: float, dtype: str = "uint16") -> NDArray[Any]:
    image = SAMPLE.astype(dtype)
    image.ravel()[: round(share * image.size)] = value
    return image


# ---------------------------------------------------------------- frames and messages


def test_frames_and_messages_that_cannot_be_used(tmp_path: Path, detector: Detector) -> None:
    """After each of them the next good frame is processed."""
    config = configuration(
        tmp_path,
        [detector.source],
        output={"path": "{root}/{series}.h5"},
        batch={"size": 1},
        references={"wait_s": 0.0},
    )
    bad: list[tuple[str, NDArray[Any]]] = [
        ("wrong_shape", SAMPLE[:-2]),
        ("wrong_dtype", SAMPLE.astype("uint32")),
        ("empty", np.zeros_like(SAMPLE)),
        ("empty", np.full_like(SAMPLE, 500)),
        ("saturated", with_value(65535, 0.2)),
    ]
    good = cbor2.loads(encoder("dectris-v2").encode(Frame("2", 30, SAMPLE, TIME_S))[0])
    hostile: list[tuple[Any, ...]] = [
        (b"",),
        (b"\xff" * 100, b"second part"),
        (b"\x81" * 100_000,),
        (cbor2.dumps(good)[:-100],),
        (cbor2.dumps(good | {"data": {}}),),
        (cbor2.dumps(good | {"image_id": -1}),),
        (cbor2.dumps({"type": "start", "series_unique_id": "../../etc\0", "series_id": 1}),),
    ]
    with Daemon(config) as daemon:
        detector.image("0", 0)  # before any series
        detector.series("1", [SAMPLE])  # before any reference
        detector.series("reference", [REFERENCE, *(image for _, image in bad)], Role.REFERENCE)
        detector.start("2")
        for number, (_, image) in enumerate(bad):
            detector.image("2", 2 * number, image)
            detector.image("2", 2 * number + 1)
        for number, parts in enumerate(hostile):
            detector.send_parts(*parts)
            detector.image("2", 20 + number)
        # A start time and a tick that no calendar has: taken as now.
        ticks = {"image_id": 40, "start_time": [2**63, 1], "series_date": "9999-12-31T23:59:59"}
        detector.send_parts(cbor2.dumps(good | ticks))
        detector.image("2", 1)
        detector.end("2")
        detector.series("3", [with_value(np.nan, 0.1, "f4"), with_value(np.nan, 0.3, "f4")])
        detector.image("3", 7)
        daemon.wait_for("frame rejected", reason="no_series", count=2)
        stopped = daemon.stop()
    check_account(
        stopped,
        kept=1,
        written=len(bad) + len(hostile) + 2,
        no_series=2,
        no_reference=1,
        wrong_shape=2,
        wrong_dtype=2,
        empty=4,
        saturated=2,
        malformed=len(hostile),
        repeated=1,
        too_many_invalid=1,
    )
    output = tmp_path / "output"
    assert rejected_in(output / "1.h5") == [(0, "no_reference")]
    losses = rejected_in(output / "2.h5")
    assert [reason for _, reason in losses] == [
        *(reason for reason, _ in bad), *["malformed"] * len(hostile), "repeated"
    ]  # fmt: skip
    assert [number for number, _ in losses[: len(bad)]] == [0, 2, 4, 6, 8]
    assert rejected_in(output / "3.h5") == [(1, "too_many_invalid")]
    with h5py.File(output / "2.h5") as file:
        numbers = file["entry/frames/image_id"][()].tolist()
    assert numbers == [1, 3, 5, 7, 9, *range(20, 20 + len(hostile)), 40]
    for series in ("reference", "2"):
        reasons = [line["reason"] for line in daemon.logged("frame rejected", series=series)]
        assert len(reasons) == len(set(reasons)), "one line for each reason and series"
    [line] = daemon.logged("frame rejected", reason="no_reference")
    assert line["detail"].endswith("take one, or add one with 'cade references add'")
    assert (line["origin"], line["image"]) == (detector.endpoint, 0)


# ---------------------------------------------------------------- disks


def check_ended(daemon: Daemon, *words: str) -> None:
    """Exit code 1 and one line with these words, after the account has been logged."""
    assert daemon.wait() == 1
    [line] = daemon.complaints
    assert line.startswith("cade: ")
    for word in words:
        assert word in line
    assert "Traceback" not in line


def test_a_disk_that_fills(tmp_path: Path, detector: Detector) -> None:
    """What has been written stays readable, and what was lost is counted."""
    config = configuration(tmp_path, [detector.source], output={"compression": "none"})
    path = tmp_path / "output/scan.h5"
    with Daemon(config) as daemon:
        detector.series("reference", [REFERENCE], Role.REFERENCE)
        detector.start("1")
        for number in range(4):
            detector.image("1", number)
        daemon.wait_until(lambda: rows_in(path) == 4)
        limit = path.stat().st_size + 100_000
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (limit, limit))
        for number in range(4, 30):
            detector.image("1", number)
        check_ended(
            daemon, f"{path}: cannot be written (File too large); 4 complete rows are in it",
            "make room there or set output.root to another place",
        )  # fmt: skip
    [stopped] = daemon.logged("stopped")
    assert stopped["written"] == 4
    assert stopped["waiting"] == stopped["received"] - 5 > 0
    assert rows_in(path) == 4
    with h5py.File(path, "r", swmr=True) as file:
        assert np.isfinite(file["entry/phase/phase"][:4]).any(axis=(1, 2)).all()


def test_output_that_vanishes_between_two_series(tmp_path: Path, detector: Detector) -> None:
    config = configuration(tmp_path, [detector.source], output={"path": "{root}/{series}/x.h5"})
    with Daemon(config) as daemon:
        detector.series("reference", [REFERENCE], Role.REFERENCE)
        detector.series("1", [SAMPLE])
        daemon.wait_for("file closed")
        (tmp_path / "output").rename(tmp_path / "moved")
        (tmp_path / "output").touch()
        detector.series("2", [SAMPLE])
        check_ended(daemon, f"{tmp_path}/output/2/x.h5: cannot be created (Not a directory)")
    assert rows_in(tmp_path / "moved/1/x.h5") == 1


def test_reference_store_that_vanishes(tmp_path: Path, detector: Detector) -> None:
    config = configuration(tmp_path, [detector.source])
    with Daemon(config) as daemon:
        daemon.wait_for("ready")
        (tmp_path / "references").rmdir()
        (tmp_path / "references").touch()
        detector.series("reference", [REFERENCE], Role.REFERENCE)
        check_ended(daemon, f"{tmp_path}/references")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """It is found out at the start, not with the first frame."""
    (tmp_path / "file").touch()
    setting, folder = "output.root", tmp_path / "file/below"
    table, key = setting.split(".")
    source = {"kind": "folder", "path": str(tmp_path)}
    done = cade(
        "run", "--config", str(configuration(tmp_path, [source], **{table: {key: str(folder)}}))
    )
    assert done.returncode == 1
    assert complaint(done) == (
        f"{folder}: cannot be written (Not a directory); set {setting} to a place that this user "
        "can write and that has room"
    )


# ---------------------------------------------------------------- sources


def test_an_endpoint_in_use(tmp_path: Path, detector: Detector) -> None:
    taken = {**detector.source, "bind": True}
    folder = {"kind": "folder", "path": str(tmp_path)}  # a healthy source beside it
    with Daemon(configuration(tmp_path, [folder, taken])) as daemon:
        check_ended(
            daemon, f"stream: cannot bind {detector.endpoint}: Address already in use",
            "check `endpoint` and `bind` of the source",
        )  # fmt: skip
    assert daemon.logged("stopped")[0]["waiting"] == 0


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    source = {"kind": "folder", "path": str(tmp_path / "gone")}
    with Daemon(configuration(tmp_path, [source])) as daemon:
        check_ended(daemon, f"{tmp_path}/gone: no such folder; create it, or change `path`")


def test_no_source(tmp_path: Path) -> None:
    done = cade("run", "--config", str(configuration(tmp_path, [])))
    assert done.returncode == 2
    assert complaint(done).startswith("no source is configured: add a [[sources]] table")


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"tracker": {"windows": 9}}, "tracker.windows: unknown setting; the nearest known one is"),
        ({"tracker": {"window": 8}}, "tracker: window must be odd, not 8"),
        ({"geometry": {"diffuser": "downstream"}}, "needs sample_distance_m as well"),
        ({"epics": {"acquire_pv": "A", "role_pv": "A"}}, "acquire_pv and role_pv name the same PV"),
        ({"drain_s": -1.0}, "drain_s: "),
    ],
)
def test_a_configuration_that_contradicts_itself(
    tmp_path: Path, tables: Line, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"kind": "folder", "path": str(tmp_path)}
    config = configuration(tmp_path, [source], **tables)
    assert main(["run", "--config", str(config)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"cade: {config}: ")
    assert words in line


# ---------------------------------------------------------------- weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A network that has learned nothing, with its card."""
    options = {"channels": ((8, 8), (8, 8)), "blocks": (1, 1)}
    card = Card("none", "cade", options, "", "", {}, {}, {}, [])
    path = tmp_path / "none.safetensors"
    save_weights(CadeNetwork(**options), path, card)  # type: ignore[arg-type]
    return path


def process(folder: Path, *words: str) -> int:
    """`cade process` with the cade tracker on one pair."""
    np.save(folder / "r.npy", REFERENCE)
    np.save(folder / "s.npy", SAMPLE)
    files = ["--reference", f"{folder}/r.npy", "--sample", f"{folder}/s.npy"]
    output = ["--output", f"{folder}/out.h5", "--displacement-only", "--device", "cpu"]
    return main(["process", *files, *output, *words])


def test_weights_that_are_what_their_card_says(tmp_path: Path, weights: Path) -> None:
    assert process(tmp_path, "--weights", str(weights)) == 0
    assert rows_in(tmp_path / "out.h5") == 1


def change_byte(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def change_options(weights: Path) -> None:
    card = json.loads(weights.with_suffix(".json").read_text())
    card["options"]["blocks"] = [1, 2]
    weights.with_suffix(".json").write_text(json.dumps(card))


def remove_card(weights: Path) -> None:
    weights.with_suffix(".json").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (change_byte, "the file is damaged or was exchanged, install it again"),
        (change_options, "do not fit a cade"),
        (remove_card, "their card none.json cannot be read"),
    ],
)
def test_weights_that_are_not(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], harm: Any, words: str
) -> None:
    harm(weights)
    assert process(tmp_path, "--weights", str(weights)) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"cade: weights {weights}")
    assert words in line
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("name", ["no-such-weights", "/gone/a.safetensors"])
def test_unknown_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert process(tmp_path, "--weights", name) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert name in line


def test_exchanged_weights_do_not_start_the_daemon(tmp_path: Path, weights: Path) -> None:
    change_byte(weights)
    source = {"kind": "folder", "path": str(tmp_path)}
    tracker = {"name": "cade", "weights": str(weights)}
    done = cade("run", "--config", str(configuration(tmp_path, [source], tracker=tracker)))
    assert done.returncode == 1
    assert complaint(done).startswith(f"weights {weights}: SHA-256 is ")
