"""The pvAccess source against real servers in processes of their own, and the daemon with one."""

from __future__ import annotations

import json
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from p4p.client.raw import RemoteError, Subscription

from cade.errors import CadeError, UsageError
from cade.frames import Event, Frame, Reason, Rejected, Role, SeriesEnd, SeriesStart
from daemon.service import Service
from daemon.settings import PvaSettings, Settings
from daemon.sources.pva import PvaSource
from simulator.emulated_series import EmulatedSeries
from simulator.faults import Faults
from simulator.pva_emulator import PvaEmulator
from tests.daemon_process import (
    Daemon,
    cade,
    check_account,
    configuration,
    environment,
    rejected_in,
    rows_in,
)
from tests.ioc import loopback
from tests.pva_server import SHAPE, image
from tests.speckle import counts, moved, speckle

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
TICK_S = 0.02


class Detector:
    """A server that can be killed and started again at the same place."""

    def __init__(self, name: str = "T:Image") -> None:
        self._name = name
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/pva_server.py"), self._name],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "serving\n"

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def do(self, *command: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        assert self._answer() == "posted\n"

    def images(self, first: int, count: int, **attributes: object) -> None:
        self.do("images", first, count, attributes)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def _network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports of this test's own, for the source in this process and for those that it starts."""
    for name, value in loopback().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def detector(_network: None) -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.kill()


class Running:
    """A source in its thread, and what it yields."""

    def __init__(self, **settings: object) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.stop = threading.Event()
        self.source = PvaSource(PvaSettings.model_validate({"pv": "T:Image"} | settings))
        self.thread = threading.Thread(target=self._run, name=self.source.name)
        self.thread.start()

    def _run(self) -> None:
        for event in self.source.events(self.stop):
            self.events.put(event)

    def next(self) -> Event:
        return self.events.get(timeout=PATIENCE_S)

    def series(self, role: Role | None = None) -> str:
        """The name of the series that begins next."""
        event = self.next()
        assert isinstance(event, SeriesStart), event
        assert (event.shape, event.dtype, event.role) == (SHAPE, "uint16", role)
        return event.series_id

    def images(self, first_id: int, first: int, count: int = 1) -> None:
        """The next events are these images, bit for bit."""
        for n in range(count):
            event = self.next()
            assert isinstance(event, Frame), event
            assert event.image_id == first_id + n
            np.testing.assert_array_equal(event.data, image(first + n))
            assert not event.data.flags.writeable

    def finish(self) -> list[Event]:
        self.stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        return list(self.events.queue)


@pytest.fixture
def run(_network: None, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Running]]:
    """Starts a source, and waits until it is connected."""
    started: list[Running] = []
    caplog.set_level("INFO")

    def start(*, connected: bool = True, **settings: object) -> Running:
        before = caplog.messages.count("PV connected")
        started.append(Running(**settings))
        if connected:
            wait_until(lambda: caplog.messages.count("PV connected") > before)
        return started[-1]

    yield start
    for one in started:
        one.finish()


def wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(TICK_S)


Run = Callable[..., Running]


def test_images_come_bit_for_bit(detector: Detector, run: Run) -> None:
    source = run(detector="pco", role_key="mode")
    detector.images(1, 3, mode="reference", AcquireTime=0.25)
    begun = source.next()
    assert isinstance(begun, SeriesStart)
    assert (begun.role, begun.beamline.detector, begun.beamline.exposure_s) == (
        Role.REFERENCE, "pco", 0.25,
    )  # fmt: skip
    source.images(0, 1, 3)
    detector.images(4, 5, mode="sample", AcquireTime=0.25)
    assert source.next() == SeriesEnd(begun.series_id)
    assert source.series(Role.SAMPLE) != begun.series_id
    source.images(0, 4, 5)
    detector.do("alarm")  # is no image
    detector.images(11, 1, mode="sample", AcquireTime=0.25)
    [last] = source.finish()
    assert isinstance(last, Frame)
    assert (last.image_id, last.origin) == (7, "T:Image")


def test_series_ends_by_silence_and_on_request(detector: Detector, run: Run) -> None:
    source = run(silence_s=0.3)
    detector.images(1, 1)
    first = source.series()
    source.images(0, 1)
    assert source.next() == SeriesEnd(first)
    detector.images(2, 1)
    second = source.series()
    source.source.end_series()
    source.images(0, 2)
    assert source.next() == SeriesEnd(second)
    assert source.finish() == []


def test_killed_server(detector: Detector, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Its series goes on where the numbers do, and a counter that begins anew begins a series."""
    source = run(silence_s=1.0, reorder_s=0.1)
    detector.images(1, 2)
    first = source.series()
    source.images(0, 1, 2)
    detector.kill()
    wait_until(lambda: "PV is lost; waiting for it to come back" in caplog.text)
    detector.start()
    wait_until(lambda: caplog.messages.count("PV connected") == 2)
    detector.images(5, 2)
    source.images(4, 5, 2)  # two are missing
    assert "image numbers jump" in caplog.text
    detector.kill()
    wait_until(lambda: caplog.text.count("PV is lost") == 2)
    detector.start()
    detector.images(1, 1)  # perhaps before anybody listens: it is the PV's value then
    assert source.next() == SeriesEnd(first)
    source.series()
    source.images(0, 1)


def test_refused_subscription_is_asked_for_again(
    detector: Detector,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """p4p's server refuses nobody, but a gateway with access rules may: its answer is put in."""
    pop = Subscription.pop
    answers: list[object] = [RemoteError("no read access")]
    monkeypatch.setattr(Subscription, "pop", lambda self: answers.pop() if answers else pop(self))
    source = run()
    assert "PV is lost" in caplog.text
    detector.images(1, 1)
    source.series()
    source.images(0, 1)


def test_overrun_loses_images_and_says_which(
    detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    """pvAccess keeps the oldest in its queue and the newest; in between its numbers jump."""
    settings = PvaSettings(pv="T:Image", queue_bytes=6000, queue_frames=4, reorder_frames=0)
    stop = threading.Event()
    events = PvaSource(settings).events(stop)
    detector.images(1, 1)
    assert isinstance(next(events), SeriesStart)
    found = [next(events)]
    detector.images(2, 60)  # while nobody takes them
    while not (isinstance(found[-1], Frame) and found[-1].image_id == 60):
        found.append(next(events))
    stop.set()
    found += events
    frames = [event for event in found if isinstance(event, Frame)]
    numbers = [frame.image_id for frame in frames]
    assert len(frames) == len(found) < 20
    assert numbers == sorted(set(numbers))
    assert numbers[:3] == [0, 1, 2]
    for frame in frames:
        np.testing.assert_array_equal(frame.data, image(frame.image_id + 1))
    assert caplog.text.count("image numbers jump") == 1


def test_image_of_before_the_start(detector: Detector, run: Run) -> None:
    detector.images(3, 1)
    ignoring = run(existing="ignore")
    taking = run(existing="take")
    taking.series()
    taking.images(0, 3)
    detector.images(4, 1)
    taking.images(1, 4)
    ignoring.series()
    ignoring.images(0, 4)


ODD: list[tuple[dict[str, object], str]] = [
    ({"dimension": [{"size": 40}, {"size": 29}]}, "value has 1200 pixels"),
    ({"dimension": [{"size": -40}, {"size": -30}]}, "positive whole numbers"),
    ({"dimension": [{"size": 2**31 - 1}, {"size": 2**31 - 1}]}, "more than the 1000000 allowed"),
    ({"dimension": []}, "must be that of one image"),
    ({"value": ["ushortValue", "u2", 0]}, "value has 0 pixels"),
    ({"value": None}, "value must be an array of numbers, not NoneType"),
    ({"value": ["ubyteValue", "u1", 3600], "attribute": [{"name": "ColorMode", "value": 2}],
      "dimension": [{"size": 3}, {"size": 40}, {"size": 30}]}, "ColorMode is RGB1, not Mono"),
    ({"codec": {"name": "blosc"}}, "codec 'blosc' is not supported: set the compressor"),
    ({"codec": {"name": "jpeg"}}, "codec 'jpeg' is not supported"),
    ({"codec": {"name": "bslz4", "parameters": 5}, "value": ["ubyteValue", "u1", 99],
      "compressedSize": 99, "uncompressedSize": 640_000,
      "dimension": [{"size": 800}, {"size": 800}]}, "99 bytes cannot hold 640000"),
]  # fmt: skip


def test_hostile_arrays(detector: Detector, run: Run) -> None:
    source = run(max_image_bytes=1_000_000, reorder_frames=0)
    detector.images(1, 1)
    source.series()
    source.images(0, 1)
    for n, (change, complaint) in enumerate(ODD):
        number = 2 + 2 * n
        detector.do("odd", number, change)
        detector.images(number + 1, 1)
        event = source.next()
        assert isinstance(event, Rejected), complaint
        assert (event.reason, event.image_id) == (Reason.MALFORMED, number - 1)
        assert complaint in event.detail
        source.images(number, number + 1)


@pytest.mark.usefixtures("_network")
def test_another_kind_of_pv(run: Run) -> None:
    detector = Detector("T:Scalar")
    try:
        event = run(connected=False, pv="T:Scalar").next()
    finally:
        detector.kill()
    assert isinstance(event, Rejected)
    assert event.reason is Reason.MALFORMED
    assert event.detail == "the PV is no NTNDArray but 'epics:nt/NTScalar:1.0': check `pv`"


def test_silent_pv_is_reported(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    source = run(connected=False, connect_s=0.2)
    wait_until(lambda: "PV is silent for 0.2 s" in caplog.text)
    assert source.finish() == []


def test_p4p_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("p4p", "p4p.client.raw", "p4p.nt", "p4p.server"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"pip install 'cade-daemon\[pva\]'"):
        PvaSource(PvaSettings(pv="T:Image"))
    with pytest.raises(UsageError, match=r"pip install 'cade-daemon\[pva\]'"):
        PvaEmulator("pva://T:Image")


@pytest.mark.usefixtures("_network")
def test_emulator_refuses() -> None:
    with pytest.raises(UsageError, match="pva:// and the name of a PV"):
        PvaEmulator("tcp://127.0.0.1:5000")
    series = [EmulatedSeries(None, 2, [image(1)])]
    with PvaEmulator("pva://T:Image", timeout_s=0.1) as emulator:
        with pytest.raises(UsageError, match="stray images"):
            emulator.publish(series, Faults(stray=1))
        with pytest.raises(UsageError, match="nothing to publish"):
            emulator.publish([])
        with pytest.raises(CadeError, match="nobody connected to pva://T:Image"):
            emulator.publish(series)


SHIFTS = [(0.1 * (n % 5), 0.3 - 0.1 * (n % 5)) for n in range(20)]
REFERENCES = np.stack([counts(speckle() + n) for n in range(3)])
SAMPLES = np.stack([counts(moved(speckle(), *shift)) for shift in SHIFTS])
FAULTS = ("drop", "duplicate", "reorder", "truncate", "corrupt", "wrong-shape", "stall")


@contextmanager
def emulating(folder: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["--format", "ntndarray", "--endpoint", "pva://T:Image", "--frames", str(len(SAMPLES))]
    words += ["--reference", f"{folder}/references.npy", "--source", f"{folder}/samples.npy"]
    words += ["--role", "sample", "--rate", "20", "--bslz4", "--log", f"{folder}/sent.jsonl"]
    words += [word for fault in FAULTS for word in (f"--{fault}", "1")]
    with subprocess.Popen(
        [sys.executable, "-m", "daemon", "emulate", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "publishing ntndarray on pva://T:Image\n"
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("_network")
def test_emulator_to_daemon_to_file(tmp_path: Path) -> None:
    """The account is that of the emulator's log, the rows are those of `cade process`, each bit."""
    np.save(tmp_path / "references.npy", REFERENCES)
    np.save(tmp_path / "samples.npy", SAMPLES)
    config = configuration(
        tmp_path,
        [{"kind": "pva", "pv": "T:Image", "queue_frames": 64}],  # busy machines
        geometry={"energy_ev": 3e4, "pixel_size_m": 1e-5},
        batch={"size": 1},
    )
    result = tmp_path / "output/scan.h5"
    with emulating(tmp_path) as emulator, Daemon(config) as daemon:
        assert emulator.wait(PATIENCE_S) == 0
        lines = (tmp_path / "sent.jsonl").read_text().splitlines()
        references, samples = (json.loads(line) for line in lines)
        rows = len(samples["sent"])
        daemon.wait_until(lambda: rows_in(result) == rows, "all rows")
        stopped = daemon.stop()
    refused = references["expected"]["rejected"] | {}
    for reason, count in samples["expected"]["rejected"].items():
        refused[reason] = refused.get(reason, 0) + count
    check_account(stopped, written=rows, kept=len(references["sent"]), **refused)
    missing = references["expected"]["missing"] + samples["expected"]["missing"]
    assert stopped["missing"] == missing > 0
    known = [(n, reason) for n, reason in samples["rejections"] if reason != "repeated"]
    assert [one for one in rejected_in(result) if one[1] != "repeated"] == [tuple(k) for k in known]
    check_rows(tmp_path, config, references["sent"], samples["sent"])


def check_rows(folder: Path, config: Path, references: list[int], samples: list[int]) -> None:
    np.save(folder / "good_references.npy", REFERENCES[references])
    np.save(folder / "good_samples.npy", SAMPLES[sorted(samples)])
    words = ["--reference", f"{folder}/good_references.npy"]
    words += ["--sample", f"{folder}/good_samples.npy"]
    done = cade("process", *words, "--output", f"{folder}/process.h5", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    with (
        h5py.File(folder / "output/scan.h5", "r") as live,
        h5py.File(folder / "process.h5", "r") as stored,
    ):
        assert live["entry/frames/image_id"][()].tolist() == sorted(samples)
        for field in ("displacement/x", "phase/phase", "transmission/transmission"):
            np.testing.assert_array_equal(
                live[f"entry/{field}"][()], stored[f"entry/{field}"][()], strict=True
            )


def test_service_without_p4p_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "p4p.client.raw", None)
    tree = {
        "sources": [{"kind": "pva", "pv": "T:Image"}],
        "tracker": {"name": "zncc", "device": "cpu"},
        "references": {"path": str(tmp_path / "references")},
        "output": {"root": str(tmp_path / "output")},
    }
    with pytest.raises(UsageError, match="needs p4p"):
        Service(Settings.model_validate(tree)).run()


@pytest.mark.parametrize("pv", ["", "two words", "x" * 201, "a\n"])
def test_names_that_are_none(pv: str) -> None:
    with pytest.raises(ValueError, match=re.escape("pv")):
        PvaSettings(pv=pv)
