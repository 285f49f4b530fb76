"""`cade emulate` as a second process, received by the real source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cade.frames import Frame, Reason, Rejected, Role, SeriesStart
from daemon import commands
from simulator.emulator_log import SeriesLog
from tests.emulate_process import emulate, receive

FRAMES = np.random.default_rng(4).poisson(100, (3, 40, 50)).astype("u2")


@pytest.fixture
def source_file(tmp_path: Path) -> Path:
    np.save(tmp_path / "frames.npy", FRAMES)
    return tmp_path / "frames.npy"


def test_stored_frames_with_faults(source_file: Path, tmp_path: Path) -> None:
    log_file = tmp_path / "sent.jsonl"
    words = ["--format", "dectris-v2", "--frames", "20", "--source", str(source_file)]
    optics = ["--role", "reference", "--energy-kev", "30", "--pixel-um", "12"]
    faults = ["--drop", "10%", "--duplicate", "1", "--truncate", "5%", "--corrupt", "1"]
    faults += ["--wrong-shape", "1", "--stray", "1", "--stray-series", "2", "--seed", "3"]
    more = ["--rate", "200", "--log", str(log_file), "--stall", "1", "--stall-s", "0.01"]
    with emulate(*words, *optics, *faults, *more) as (process, endpoint):
        # 20 - 2 dropped + 1 duplicate + 1 stray + 2 of another series
        events = receive(endpoint, 22, format="dectris-v2")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "sent 1 series of 20 images in all, " in out
    assert "faults: 2 drop, 1 duplicate, 1 truncate, 1 corrupt, 1 wrong_shape, 1 stall, " in out
    assert "a receiver should count 22 received, 15 good, " in out
    log = SeriesLog.from_json(log_file.read_text().rstrip("\n"))
    assert (len(log.dropped), len(log.corrupted), len(log.strays)) == (2, 1, 1)
    assert (len(log.stray_series), len(log.stalled)) == (2, 1)
    start = events[0]
    assert isinstance(start, SeriesStart)
    assert (start.role, start.image_count, start.shape) == (Role.REFERENCE, 20, (40, 50))
    assert start.beamline.energy_ev == 30e3
    assert start.beamline.pixel_size_m == pytest.approx(12e-6)
    good = {e.image_id: e.data for e in events if isinstance(e, Frame) and len(e.data) == 40}
    assert sorted(good) == sorted(log.sent)
    assert all(np.array_equal(data, FRAMES[number % 3]) for number, data in good.items())
    lost = [(e.image_id, e.reason) for e in events if isinstance(e, Rejected)]
    shapes = [(number, Reason.WRONG_SHAPE) for number in log.wrong_shape]
    assert sorted([*lost, *shapes]) == sorted(log.rejections)


def test_several_series_begin_with_the_first_frame(source_file: Path) -> None:
    words = ["--format", "odin", "--frames", "2", "--series", "3", "--source", str(source_file)]
    with emulate(*words) as (process, endpoint):
        events = receive(endpoint, 6, format="odin", socket="sub")
        assert process.wait(timeout=60) == 0
    good = [event for event in events if isinstance(event, Frame)]
    assert len({frame.series_id for frame in good}) == 3
    np.testing.assert_array_equal([frame.data for frame in good], FRAMES[[0, 1] * 3])


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
        ([], "required: --endpoint"),
        (["--format", "odd"], "invalid choice: 'odd'"),
        (["--frames", "0"], "must be at least 1, not 0"),
        (["--frames", "ten"], "invalid positive value: 'ten'"),
        (["--rate", "-1"], "must be a positive number, not -1"),
        (["--rate", "inf"], "must be a positive number, not inf"),
        (["--truncate=-1"], "must be at least 0, not -1"),
        (["--drop=-1%"], "must be from 0% to 100%, not -1%"),
        (["--drop", "101%"], "must be from 0% to 100%, not 101%"),
        (["--drop", "nan%"], "must be from 0% to 100%, not nan%"),
        (["--drop", "1.5"], "invalid amount value: '1.5'"),
        (["--drop", "%"], "invalid amount value: '%'"),
        (["--drop", "2%5"], "invalid amount value: '2%5'"),
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
        (["--format", "dectris-v2", "--drop", "100%"], 2, "this many faults (100) do not fit"),
        (["--format", "dectris-v2", "--log", "/"], 1, "/: exists and is never overwritten"),
        (["--format", "dectris-v2", "--log", "/no/a"], 1, "/no/a: cannot be written"),
        ([], 2, "needs --format and --frames, or --recording"),
        (["--recording", "gone.cade"], 2, "--frames and --recording do not go together"),
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


def test_a_log_of_nothing_is_not_left_behind(
    source_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--format", "dectris-v2", "--frames", "1", "--source", str(source_file)]
    words += ["--endpoint", "tcp://127.0.0.1:*", "--timeout", "0.01"]
    assert commands.main(["emulate", *words, "--log", f"{tmp_path}/sent.jsonl"]) == 1
    assert "nobody received" in capsys.readouterr().err
    assert not (tmp_path / "sent.jsonl").exists()


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
