"""`cade emulate` as a second process, received by the real source."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from cade.frames import Event, Frame, Rejected, Role, SeriesEnd, SeriesStart
from daemon import commands
from daemon.settings import StreamSettings
from daemon.sources.stream import StreamSource

FRAMES = np.random.default_rng(4).poisson(100, (3, 40, 50)).astype("u2")


@pytest.fixture
def source_file(tmp_path: Path) -> Path:
    np.save(tmp_path / "frames.npy", FRAMES)
    return tmp_path / "frames.npy"


@contextmanager
def emulate(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in its own process, and the endpoint that it says it has bound."""
    root = str(Path(commands.__file__).parents[2])
    command = [sys.executable, "-m", "daemon", "emulate", "--endpoint", "tcp://127.0.0.1:*", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": root}
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"publishing \S+ on (tcp://127\.0\.0\.1:\d+)\n", line)
            assert found, line
            yield process, found[1]
        finally:
            process.kill()


def receive(endpoint: str, last: int, **settings: object) -> list[Event]:
    """Events up to the `last`-th frame or rejection."""
    stop = threading.Event()
    events: list[Event] = []
    with zmq.Context() as context:
        found = StreamSettings.model_validate(settings | {"endpoint": endpoint})
        for event in StreamSource(found, context).events(stop):
            events.append(event)
            if sum(isinstance(e, Frame | Rejected) for e in events) == last:
                stop.set()
    return events


def test_stored_frames_with_faults(source_file: Path) -> None:
    words = ["--format", "dectris-v2", "--frames", "7", "--source", str(source_file)]
    optics = ["--role", "reference", "--energy-kev", "30", "--pixel-um", "12"]
    faults = ["--truncate", "1", "--corrupt", "2", "--wrong-shape", "1", "--stray", "1"]
    with emulate(*words, *optics, *faults, "--rate", "200") as (process, endpoint):
        events = receive(endpoint, 12, format="dectris-v2")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.startswith("sent 7 images in 1 series and 5 broken messages, ")
    assert Counter(type(event) for event in events) == {
        SeriesStart: 1, Frame: 8, Rejected: 4, SeriesEnd: 1,
    }  # fmt: skip
    start = events[0]
    assert isinstance(start, SeriesStart)
    assert (start.role, start.image_count, start.shape) == (Role.REFERENCE, 8, (40, 50))
    assert start.beamline.energy_ev == 30e3
    assert start.beamline.pixel_size_m == pytest.approx(12e-6)
    good = [e.data for e in events if isinstance(e, Frame) and e.data.shape == (40, 50)]
    np.testing.assert_array_equal(good, FRAMES[[0, 1, 2, 0, 1, 2, 0]])


def test_references_before_the_frames(source_file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "references.npy", FRAMES[:2])
    files = ["--source", str(source_file), "--reference", str(tmp_path / "references.npy")]
    words = ["--format", "stins", "--frames", "3", *files, "--role", "sample", "--bslz4"]
    with emulate(*words) as (process, endpoint):
        events = receive(endpoint, 5, format="stins")
        assert process.wait(timeout=60) == 0
    good = [event for event in events if isinstance(event, Frame)]
    assert [frame.role for frame in good] == [Role.REFERENCE] * 2 + [Role.SAMPLE] * 3
    np.testing.assert_array_equal([frame.data for frame in good], FRAMES[[0, 1, 0, 1, 2]])


def test_array_1_0_is_published(source_file: Path) -> None:
    words = ["--format", "array-1.0", "--frames", "3", "--source", str(source_file)]
    with emulate(*words) as (process, endpoint):
        events = receive(endpoint, 3, format="array-1.0", socket="sub")
        assert process.wait(timeout=60) == 0
    good = [event for event in events if isinstance(event, Frame)]
    np.testing.assert_array_equal([frame.data for frame in good], FRAMES)
    assert {frame.role for frame in good} == {None}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "required: --format, --endpoint, --frames"),
        (["--format", "odd"], "invalid choice: 'odd'"),
        (["--frames", "0"], "must be at least 1, not 0"),
        (["--frames", "ten"], "invalid _positive_int value: 'ten'"),
        (["--rate", "-1"], "must be a positive number, not -1"),
        (["--rate", "inf"], "must be a positive number, not inf"),
        (["--truncate", "-1"], "must be at least 0, not -1"),
        (["--bslz4", "--no-compression"], "not allowed with"),
    ],
)
def test_wrong_options(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main(["emulate", *words]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--format", "array-1.0", "--bslz4"], 2, "array-1.0 carries no bslz4"),
        (["--format", "array-1.0", "--stray", "1"], 2, "stray images need a format whose series"),
        (["--format", "dectris-v2", "--source", "gone.npy"], 1, "gone.npy"),
        (["--format", "dectris-v2", "--timeout", "0.01"], 1, "nobody received"),
    ],
)
def test_failures_are_one_line(
    words: list[str],
    code: int,
    complaint: str,
    source_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = [] if "--source" in words else ["--source", str(source_file)]
    endpoint = ["--endpoint", "tcp://127.0.0.1:*", "--frames", "100"]
    assert commands.main(["emulate", *endpoint, *source, *words]) == code
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_role_without_source(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--format", "dectris-v2", "--frames", "1", "--endpoint", "tcp://127.0.0.1:*"]
    assert commands.main(["emulate", *words, "--role", "flat"]) == 2
    assert "--role goes with --source" in capsys.readouterr().err
    assert commands.main(["emulate", *words, "--reference", "a.npy"]) == 2
    assert "--reference goes with --source" in capsys.readouterr().err


def test_frames_that_differ(
    source_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "other.npy", FRAMES[:, :-1])
    words = ["--format", "dectris-v2", "--frames", "1", "--endpoint", "tcp://127.0.0.1:*"]
    files = ["--source", str(source_file), str(tmp_path / "other.npy")]
    assert commands.main(["emulate", *words, *files]) == 2
    assert "differ in shape or dtype" in capsys.readouterr().err
