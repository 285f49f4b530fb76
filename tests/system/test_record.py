"""`cade record` beside a detector, and `cade emulate --recording` in its place."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from cade.frames import Frame, Rejected, Role, SeriesStart
from cade.wire.recording import RecordedMessage, RecordingHeader, RecordingReader, RecordingWriter
from daemon import commands
from simulator.replay import SENDERS
from simulator.stream_traits import STREAM_TRAITS
from tests.daemon_process import PATIENCE_S, cade, environment
from tests.emulate_process import emulate, receive

FRAMES = np.random.default_rng(4).poisson(100, (3, 20, 24)).astype("u2")
RECEIVERS = {kind: receiver for receiver, kind in SENDERS.items()}


@pytest.fixture
def frames(tmp_path: Path) -> list[str]:
    """Options of `cade emulate` for three sample frames, one of which goes twice."""
    np.save(tmp_path / "frames.npy", FRAMES)
    return ["--source", f"{tmp_path}/frames.npy", "--frames", "3", "--role", "sample",
            "--duplicate", "1"]  # fmt: skip


LIMITED = """
import resource, signal, sys
from daemon.commands import main

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def recording(output: Path, *words: str, limited: bool = False) -> Iterator[subprocess.Popen[str]]:
    """`cade record` in its own process, which may write 5000 bytes at most if `limited`."""
    program = ["-c", LIMITED] if limited else ["-m", "daemon"]
    with subprocess.Popen(
        [sys.executable, *program, "record", "--output", str(output), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read(path: Path) -> list[RecordedMessage]:
    with RecordingReader(path) as found:
        return list(found.messages())


def wait_for(path: Path, messages: int) -> None:
    """Until the growing file has so many."""
    end_s = time.monotonic() + PATIENCE_S
    while not path.exists() or path.stat().st_size < 100 or len(read(path)) < messages:
        assert time.monotonic() < end_s
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["dectris-v2", "array-1.0", "karabo"])
def test_recorded_and_sent_again(name: str, frames: list[str], tmp_path: Path) -> None:
    path = tmp_path / "scan.cade"
    announced = STREAM_TRAITS[name].announced
    messages = 6 if announced else 4
    with emulate("--format", name, *frames) as (detector, endpoint):
        words = ["--format", name, "--endpoint", endpoint, "--messages", str(messages)]
        with recording(path, *words) as recorder:
            out, complaints = recorder.communicate(timeout=PATIENCE_S)
        assert recorder.returncode == 0, complaints
        assert detector.wait(PATIENCE_S) == 0
    assert out.startswith(f"{path}: {messages} messages, ")
    receiver = RECEIVERS[STREAM_TRAITS[name].socket]
    with RecordingReader(path) as found:
        assert (found.header.wire_format, found.header.socket) == (name, receiver)
    with emulate("--recording", str(path), "--rate", "500") as (again, endpoint):
        events = receive(endpoint, 4, format=name, socket=receiver, silence_s=60)
        out, _ = again.communicate(timeout=PATIENCE_S)
    assert out.startswith(f"sent {messages} messages, ")
    good = [event for event in events if isinstance(event, Frame)]
    np.testing.assert_array_equal([frame.data for frame in good], FRAMES)
    roles = {event.role for event in events if isinstance(event, Frame | SeriesStart)}
    assert Role.SAMPLE in roles
    assert [event.reason for event in events if isinstance(event, Rejected)] == ["repeated"]
    summary = cade("record", "--summary", str(path))
    assert f"{name} from '{endpoint[:15]}" in summary.stdout
    assert "4 Frame" in summary.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_unknown_format_until_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    """Bytes that nobody understands are kept as they are; the recorder binds."""
    path = tmp_path / "raw.cade"
    sent = [[b"\x00\xff", b"", b"x" * 100_000], [b"only"], [b""]]
    with zmq.Context() as context, context.socket(zmq.PUSH) as sender:
        port = sender.bind_to_random_port("tcp://127.0.0.1")
        sender.unbind(f"tcp://127.0.0.1:{port}")
        endpoint = f"tcp://127.0.0.1:{port}"
        with recording(path, "--endpoint", endpoint, "--bind") as recorder:
            sender.connect(endpoint)
            for parts in sent:
                sender.send_multipart(parts)
            wait_for(path, len(sent))
            recorder.send_signal(number)
            out, complaints = recorder.communicate(timeout=PATIENCE_S)
        sender.close(linger=0)
    assert recorder.returncode == 0, complaints
    assert "3 messages" in out
    assert [list(message.parts) for message in read(path)] == sent
    summary = cade("record", "--summary", str(path)).stdout
    assert "unknown format" in summary
    assert "3 messages, 0.1 MB" in summary


def test_kill_leaves_whole_messages(frames: list[str], tmp_path: Path) -> None:
    path = tmp_path / "scan.cade"
    with (
        emulate("--format", "dectris-v2", *frames, "--series", "500") as (_, endpoint),
        recording(path, "--endpoint", endpoint) as recorder,
    ):
        wait_for(path, 20)
        recorder.kill()
        recorder.wait(PATIENCE_S)
    assert len(read(path)) >= 20


def test_recording_ends_after_its_time(tmp_path: Path) -> None:
    path = tmp_path / "none.cade"
    done = cade(
        "record", "--endpoint", "tcp://127.0.0.1:1", "--seconds", "0.1", "--output", str(path)
    )
    assert (done.returncode, done.stdout) == (0, f"{path}: 0 messages, 0.0 MB\n")
    assert read(path) == []


def test_full_disk_is_one_line(frames: list[str], tmp_path: Path) -> None:
    path = tmp_path / "scan.cade"
    words = ["--format", "stins", *frames, "--series", "50"]
    with (
        emulate(*words) as (_, endpoint),
        recording(path, "--endpoint", endpoint, limited=True) as recorder,
    ):
        _, complaints = recorder.communicate(timeout=PATIENCE_S)
    assert recorder.returncode == 1
    assert [line for line in complaints.splitlines() if line.startswith("cade: ")] == [
        f"cade: {path}: cannot be written (File too large); the {len(read(path))} messages before "
        "are kept; make room or choose another place"
    ]
    assert len(read(path)) > 2


def test_replay_in_recorded_times_and_a_tail_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "raw.cade"
    with RecordingWriter(path, RecordingHeader("pull", "", "", 1e9)) as writer:
        for number in range(3):
            writer.write([b"%d" % number])
            time.sleep(0.2)
    data = path.read_bytes()
    path.write_bytes(data + struct.pack("<4sdI", b"MSG1", 1.0, 5))
    with (
        zmq.Context() as context,
        context.socket(zmq.PULL) as receiver,
        emulate("--recording", str(path)) as (process, endpoint),
    ):
        receiver.connect(endpoint)
        came_s = []
        for number in range(3):
            assert receiver.recv_multipart() == [b"%d" % number]
            came_s.append(time.monotonic())
        assert process.wait(PATIENCE_S) == 0
    assert came_s[2] - came_s[0] > 0.2, "not all at once; no upper bound on a busy machine"


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ([], 2, "cade record needs --endpoint and --output, or --summary"),
        (["--endpoint", "http://a", "--output", "OUT"], 2, "--endpoint: String should match"),
        (["--endpoint", "tcp://a:1", "--output", "TAKEN"], 1, "exists and is never overwritten"),
        (["--endpoint", "tcp://a:1", "--output", "no/OUT"], 1, "cannot be written (No such file"),
        (
            ["--endpoint", "tcp://127.0.0.1:1", "--socket", "req", "--bind", "--output", "OUT"],
            2,
            "socket = 'req' connects to the bridge",
        ),
        (["--endpoint", "tcp://1.2.3.4:9", "--bind", "--output", "OUT"], 1, "cannot bind"),
        (["--messages", "1", "--seconds", "1"], 2, "not allowed with"),
        (["--summary", "gone.cade"], 1, "gone.cade: does not exist"),
        (["--summary", "TAKEN"], 1, "TAKEN: is no recording"),
    ],
)
def test_wrong_use(tmp_path: Path, words: list[str], code: int, complaint: str) -> None:
    (tmp_path / "TAKEN").write_text("something else that is long enough")
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "record", *words],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert complaint in done.stderr
    assert (tmp_path / "TAKEN").read_text() == "something else that is long enough"
    assert [path.name for path in tmp_path.iterdir()] == ["TAKEN"]


@pytest.mark.parametrize("words", [["--drop", "1"], ["--format", "odin"], ["--log", "a"]])
def test_a_recording_is_sent_as_it_is(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--recording", "a.cade", "--endpoint", "tcp://127.0.0.1:*", *words]
    assert commands.main(["emulate", *given]) == 2
    assert "a recording is sent as it is" in capsys.readouterr().err
