"""HDF5 files that another process is still writing: followed, each image once, never too early."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cade.frames import Frame, Reason, Rejected, SeriesEnd, SeriesStart
from daemon.settings import FolderSettings, RoleSettings
from daemon.sources.folder import FolderSource
from tests.daemon_process import Daemon, cade, check_account, configuration, rows_in
from tests.growing_writer import SHAPE, GrowingFile, picture
from tests.running_folder import Running, soon
from tests.speckle import counts, moved, speckle

Watch = Callable[..., Running]


@pytest.fixture(params=["events", "polling"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def watch(folder: Path, mode: str) -> Iterator[Watch]:
    started: list[Running] = []

    def start(**settings: object) -> Running:
        started.append(Running(folder, watch=mode, **settings))
        return started[-1]

    yield start
    for running in started:
        running.finish()


def check_images(frames: list[Frame], first: int = 0) -> None:
    """Each is the right one, and their numbers are continuous."""
    assert [frame.image_id for frame in frames] == [first + n for n in range(len(frames))]
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.data, picture(number))


@pytest.mark.parametrize("numbered", [True, False])
def test_in_step_with_the_writer(folder: Path, watch: Watch, numbered: bool) -> None:
    """Every image comes before the next one is written, and comes once."""
    running = watch()
    with GrowingFile(folder / "scan.h5", numbered=numbered) as file:
        file.do("frames 0 1")
        start = running.start()
        assert (start.shape, start.dtype, start.beamline.energy_ev) == (SHAPE, "uint16", 30e3)
        frames = running.frames(1)
        for number in range(1, 6):
            file.do(f"frames {number} {number + 1}")
            frames += running.frames(1)
        check_images(frames)
        file.do("close")
    with GrowingFile(folder / "scan_2.h5", numbered=numbered) as file:
        file.do("frames 0 3")
        check_images(running.frames(3), first=6)
        file.do("close")
    assert running.finish() == []


@pytest.mark.parametrize(
    "options",
    [
        {"numbered": True},
        {"packed": True},
        {"packed": True, "parts": 4, "numbered": True},
        {"parts": 3},
        {"libver": "latest", "most": 150},
    ],
    ids="+".join,
)
def test_as_fast_as_it_is_written(folder: Path, watch: Watch, options: dict[str, Any]) -> None:
    running = watch()
    with GrowingFile(folder / "scan.h5", **options) as file:
        file.do("frames 0 150")
        running.start()
        check_images(running.frames(150))
        file.do("close")
    assert running.finish() == []


@pytest.mark.parametrize("numbered", [True, False])
def test_longer_before_it_is_written(folder: Path, watch: Watch, numbered: bool) -> None:
    """What is only reserved is no image."""
    running = watch()
    with GrowingFile(folder / "scan.h5", numbered=numbered) as file:
        file.do("extend 10")
        assert soon(running) is None
        file.do("frames 0 4")
        running.start()
        frames = running.frames(4)
        assert soon(running) is None
        file.do("frames 4 7")
        check_images(frames + running.frames(3))
        file.do("close")  # three places are never used
    assert running.finish() == []


def test_number_behind_the_image_decides(folder: Path, watch: Watch) -> None:
    """An image of a numbered file waits for its number, however long the file is quiet."""
    running = watch()
    with GrowingFile(folder / "scan.h5", numbered=True) as file:
        file.do("frames 0 1")
        running.start()
        frames = running.frames(1)
        file.do("pixels 1 3")
        assert soon(running) is None
        file.do("frames 3 4")  # the number of a later one says it of those before as well
        check_images(frames + running.frames(3))
        file.do("close")
    assert running.finish() == []


def test_killed_writer(folder: Path, watch: Watch) -> None:
    """After a silence the series ends with what is complete; the next file is read."""
    running = watch(silence_s=1.0)
    with GrowingFile(folder / "scan.h5") as file:
        file.do("frames 0 5")
        file.do("extend 8")
        file.kill()
    name = running.start().series_id
    check_images(running.frames(5))
    assert running.next() == SeriesEnd(name)
    np.save(folder / "next.npy", picture(1))
    running.start()
    assert running.frame().origin.endswith("next.npy")


def test_writer_that_rests_goes_on(folder: Path, watch: Watch) -> None:
    """A file whose writer was taken for dead is taken up again where it was left."""
    running = watch(silence_s=0.5)
    with GrowingFile(folder / "scan.h5") as file:
        file.do("frames 0 3")
        running.start()
        check_images(running.frames(3))
        assert isinstance(running.next(), SeriesEnd)
        file.do("frames 3 5")
        running.start()
        later = running.frames(2)
        assert [frame.image_id for frame in later] == [0, 1]
        np.testing.assert_array_equal(later[0].data, picture(3))
        file.do("close")


def test_all_announced_images(folder: Path, watch: Watch) -> None:
    """A file that can hold no more is done, whether or not its writer closes it."""
    running = watch(silence_s=0.5, quiet_s=0.1)
    with GrowingFile(folder / "scan.h5", most=3) as file:
        file.do("frames 0 3")
        running.start()
        check_images(running.frames(3))
        assert isinstance(running.next(), SeriesEnd)
        file.do("close")
    assert running.finish() == []


def test_images_there_at_start_are_ignored_on_demand(folder: Path, watch: Watch) -> None:
    with GrowingFile(folder / "scan.h5", numbered=True) as file:
        file.do("frames 0 4")
        running = watch(existing="ignore")
        number = 4
        event = None
        while event is None:  # images written before the first look are there at the start
            file.do(f"frames {number} {number + 1}")
            number += 1
            event = soon(running)
        frame = running.frame()
        assert frame.image_id == 0
        np.testing.assert_array_equal(frame.data, picture(number - 1))
        file.do("close")
    assert running.finish() == []


def test_renamed_while_it_grows(folder: Path, watch: Watch) -> None:
    running = watch()
    with GrowingFile(folder / "scan.h5", numbered=True) as file:
        file.do("frames 0 3")
        running.start()
        check_images(running.frames(3))
        (folder / "scan.h5").rename(folder / "scan_a.h5")
        file.do("frames 3 5")
        frames = running.frames(2)
        assert [frame.image_id for frame in frames] == [3, 4]
        np.testing.assert_array_equal(frames[1].data, picture(4))
        file.do("close")
    assert running.finish() == []


def test_deleted_while_it_grows(folder: Path, watch: Watch) -> None:
    running = watch()
    with GrowingFile(folder / "scan.h5", numbered=True) as file:
        file.do("frames 0 3")
        running.start()
        running.frames(3)
        (folder / "scan.h5").unlink()
        rejected = running.rejected()
        assert (rejected.reason, "does not exist" in rejected.detail) == (Reason.UNREADABLE, True)
        np.save(folder / "next.npy", picture(7))
        assert running.frame().image_id == 3
    assert running.finish() == []


def test_open_without_swmr_is_left_alone_until_it_is_closed(folder: Path, watch: Watch) -> None:
    """Its lock says that the writer lives: that may take longer than any patience."""
    running = watch(give_up_s=0.2)
    with GrowingFile(folder / "scan.h5", swmr=False) as file:
        file.do("frames 0 3")
        assert soon(running) is None
        file.do("frames 3 5")
        assert soon(running) is None
        file.do("close")
    running.start()
    check_images(running.frames(5))


def test_reading_does_not_lock_a_writer_out(folder: Path, mode: str) -> None:
    """HDF5's lock would make a program fail that opens the file for writing meanwhile."""
    with h5py.File(folder / "0.h5", "w") as file:
        file["entry/data/data"] = np.stack([picture(n) for n in range(3)])
    settings = FolderSettings.model_validate({"path": folder, "watch": mode, "quiet_s": 0})
    events = FolderSource(settings, RoleSettings()).events(threading.Event())
    assert isinstance(next(events), SeriesStart)
    assert isinstance(next(events), Frame)  # its reader has the file open now
    with h5py.File(folder / "0.h5", "r+") as file:
        file.attrs["touched"] = 1
    events.close()


def test_hdf5_that_hangs(
    folder: Path, tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 can look for minutes for the end of a file that was cut off in SWMR mode."""
    monkeypatch.setattr("daemon.sources.file_reader._ANSWER_S", 1)
    with GrowingFile(tmp_path / "whole.h5") as file:
        file.do("frames 0 3")
        shutil.copy(tmp_path / "whole.h5", tmp_path / "killed.h5")
    content = (tmp_path / "killed.h5").read_bytes()
    end = int.from_bytes(content[28:36], "little")
    (folder / "0.h5").write_bytes(content[: end + 100])
    np.save(folder / "1.npy", picture(1))
    running = watch(give_up_s=0.5)
    events = [running.next() for _ in range(3)]
    [rejected] = [event for event in events if isinstance(event, Rejected)]
    assert rejected.reason is Reason.UNREADABLE
    assert f"{folder / '0.h5'}: " in rejected.detail
    assert [e.origin for e in events if isinstance(e, Frame)] == [str(folder / "1.npy")]


def test_damaged_image_among_good_ones(folder: Path, watch: Watch) -> None:
    """It is named and keeps its number; those behind it are read."""
    with GrowingFile(folder / "scan.part", packed=True) as file:
        file.do("frames 0 5")
        file.do("close")
    with h5py.File(folder / "scan.part", "r") as file:
        chunk = file["entry/data/data"].id.get_chunk_info(2)
    with (folder / "scan.part").open("r+b") as stream:
        stream.seek(chunk.byte_offset + 12)
        stream.write(b"\xff" * (chunk.size - 12))
    (folder / "scan.part").rename(folder / "scan.h5")
    running = watch(give_up_s=0.5)
    running.start()
    frames = running.frames(2)
    rejected = running.rejected()
    assert (rejected.image_id, rejected.reason) == (2, Reason.UNREADABLE)
    assert "image 2 is damaged" in rejected.detail
    assert [frame.image_id for frame in frames + running.frames(2)] == [0, 1, 3, 4]


# ---------------------------------------------------------------- through the daemon


SHIFTS = [(0.05 * n, 0.3 - 0.1 * n) for n in range(8)]
SAMPLES = np.stack([counts(moved(speckle(), *shift)) for shift in SHIFTS])


def test_daemon_follows_a_growing_file(tmp_path: Path) -> None:
    """Rows appear while the writer goes on, and are those of the finished file."""
    folder = tmp_path / "incoming"
    for name in ("ref", "scan"):
        (folder / name).mkdir(parents=True)
    np.save(tmp_path / "samples.npy", SAMPLES)
    np.save(folder / "ref/0.npy", np.stack([counts(speckle() + n) for n in range(3)]))
    source = {"kind": "folder", "path": str(folder), "quiet_s": 0.1}
    source |= {"watch": "polling", "poll_interval_s": 0.1, "silence_s": 60.0}
    config = configuration(tmp_path, [source], batch={"size": 1})
    path = tmp_path / "output/scan.h5"
    options: dict[str, Any] = {"shape": SAMPLES.shape[1:], "packed": True}
    options["source"] = str(tmp_path / "samples.npy")
    with Daemon(config) as daemon:
        daemon.wait_for("series started")
        with GrowingFile(folder / "scan/0.h5", **options) as file:
            file.do("frames 0 4")
            daemon.wait_until(lambda: rows_in(path) == 4, "the first rows")
            file.do("frames 4 8")
            daemon.wait_until(lambda: rows_in(path) == 8, "all rows")
            file.do("close")
        check_account(daemon.stop(), written=8, kept=3)
    output = tmp_path / "process.h5"
    words = ["--reference", f"{folder}/ref/0.npy", "--sample", f"{folder}/scan/0.h5"]
    done = cade("process", *words, "--output", str(output), "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    with h5py.File(path, "r") as live, h5py.File(output, "r") as stored:
        np.testing.assert_array_equal(live["entry/frames/image_id"], np.arange(8))
        for name in (
            "displacement/x",
            "displacement/y",
            "transmission/transmission",
            "phase/phase",
        ):
            np.testing.assert_array_equal(live[f"entry/{name}"], stored[f"entry/{name}"])
