"""The folder source on real files, by events and by polling."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from cade.errors import CadeError
from cade.frames import Event, Frame, Reason, Rejected, Role, SeriesEnd, SeriesStart
from daemon.roles import role_of
from daemon.settings import FolderSettings, RoleSettings
from daemon.sources.file_events import FileEvents
from daemon.sources.file_finder import natural_order
from daemon.sources.folder import FolderSource
from tests.running_folder import NEVER_S, PATIENCE_S, Running, soon

PIXELS = np.arange(1, 49, dtype="u2").reshape(6, 8)

WRITE_IN_HALVES = """
import sys, time
path, data = sys.argv[1], open(sys.argv[2], "rb").read()
with open(path, "wb") as file:
    file.write(data[: len(data) // 2])
    file.flush()
    print("half", flush=True)
    sys.stdin.readline()
    file.write(data[len(data) // 2 :])
print("whole", flush=True)
"""


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
    """Starts a source; it is stopped at the end."""
    started: list[Running] = []

    def start(**settings: object) -> Running:
        started.append(Running(folder, watch=mode, **settings))
        return started[-1]

    yield start
    for running in started:
        running.finish()


def tiff(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    tifffile.imwrite(path, PIXELS + value, photometric="minisblack")
    return path


def content(tmp_path: Path) -> bytes:
    return tiff(tmp_path / "whole" / "whole.tif").read_bytes()


def test_existing_files_in_natural_order(folder: Path, watch: Watch) -> None:
    for number in (10, 9, 100):
        tiff(folder / f"frame_{number}.tif", number)
    running = watch()
    start = running.start()
    assert start.series_id.startswith("incoming-")
    assert (start.shape, start.dtype, start.image_count) == ((6, 8), "uint16", None)
    assert start.start_time_s == pytest.approx((folder / "frame_9.tif").stat().st_mtime)
    frames = [running.frame() for _ in range(3)]
    assert [int(f.data[0, 0]) for f in frames] == [10, 11, 101]
    assert [f.image_id for f in frames] == [0, 1, 2]
    assert {f.series_id for f in frames} == {start.series_id}
    assert frames[0].origin == str(folder / "frame_9.tif")
    assert frames[0].timestamp_s == pytest.approx((folder / "frame_9.tif").stat().st_mtime)
    assert running.finish() == []


def test_existing_files_are_ignored_on_demand(folder: Path, watch: Watch) -> None:
    tiff(folder / "old.tif", 1)
    running = watch(existing="ignore")
    # Whatever is there by the first look counts as existing; a rewritten file is a new one.
    tiff(folder / "new" / "started.tif", 1)
    while not isinstance(event := rewritten(folder / "new" / "started.tif", running), Frame):
        pass
    assert event.origin.endswith("started.tif")
    assert all("old" not in getattr(e, "origin", "") for e in running.finish())


def rewritten(path: Path, running: Running) -> Event | None:
    """Write a new file at `path`; the event that it leads to, if the source watches already."""
    path.unlink()
    tiff(path, 2)
    return soon(running)


def test_file_written_slowly(folder: Path, tmp_path: Path, watch: Watch) -> None:
    """Half a file is not taken for a whole one, even when it is quiet for long."""
    content(tmp_path)
    tiff(folder / "first.tif")
    running = watch()
    running.start()
    running.frame()
    with writer(folder / "slow.tif", tmp_path / "whole" / "whole.tif") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        assert soon(running) is None
        process.communicate("\n", timeout=PATIENCE_S)
    frame = running.frame()
    assert np.array_equal(frame.data, PIXELS)
    assert frame.origin.endswith("slow.tif")


def test_closed_file_is_ready_at_once(folder: Path, tmp_path: Path) -> None:
    """With events quiet time does not matter. Polling cannot know that a file was closed."""
    content(tmp_path)
    running = Running(folder, watch="events", quiet_s=NEVER_S)
    try:
        event = None
        while event is None:  # a file closed before the source watches is not known to be complete
            with writer(folder / "slow.tif", tmp_path / "whole" / "whole.tif") as process:
                event = soon(running)
                assert event is None
                process.communicate("\n", timeout=PATIENCE_S)
            event = soon(running)
        assert isinstance(event, SeriesStart)
        assert np.array_equal(running.frame().data, PIXELS)
    finally:
        running.finish()


def writer(path: Path, source: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE_IN_HALVES, str(path), str(source)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_renamed_into_place(
    place: str, mode: str, folder: Path, tmp_path: Path, watch: Watch
) -> None:
    """With events a renamed file is ready at once: quiet time does not matter."""
    running = watch(quiet_s=NEVER_S if mode == "events" else 0.1)
    event, number = None, 0
    while event is None:  # files renamed before the source watches are not known to be complete
        number += 1
        if place == "inside":
            part = tiff(folder / f".{number}.tif.part")
        else:
            part = tiff(tmp_path / f"{number}.tif")
        part.rename(folder / f"{number}.tif")
        event = soon(running)
    assert isinstance(event, SeriesStart)
    running.frame()


def test_renamed_after_it_was_taken(folder: Path, watch: Watch) -> None:
    """Data that somebody moves within the folder are not taken again."""
    running = watch()
    tiff(folder / "run1" / "0.tif")
    running.start()
    running.frame()
    (folder / "run1").rename(folder / "run1_done")
    tiff(folder / "run2" / "0.tif")
    assert running.start().series_id == "run2"
    running.frame()
    assert running.finish() == []


def test_half_a_file_completed_later(folder: Path, tmp_path: Path, watch: Watch) -> None:
    whole = content(tmp_path)
    running = watch(give_up_s=NEVER_S)
    (folder / "0.tif").write_bytes(whole[: len(whole) // 2])
    tiff(folder / "1.tif", 1)
    running.start()
    assert running.frame().data[0, 0] == 2  # the damaged one holds nothing up
    with (folder / "0.tif").open("ab") as file:
        file.write(whole[len(whole) // 2 :])
    assert np.array_equal(running.frame().data, PIXELS)


def test_half_a_file_never_completed(folder: Path, tmp_path: Path, watch: Watch) -> None:
    whole = content(tmp_path)
    running = watch(give_up_s=0.5)
    (folder / "0.tif").write_bytes(whole[: len(whole) // 2])
    rejected = running.rejected()
    assert (rejected.reason, rejected.image_id) == (Reason.UNREADABLE, -1)
    assert rejected.origin == str(folder / "0.tif")
    assert rejected.detail.startswith(f"{folder / '0.tif'}: ")
    (folder / "0.tif").write_bytes(whole)  # late, but not too late
    running.start()
    assert running.frame().image_id == 0
    assert running.finish() == []


def test_reserved_space_is_not_a_frame(folder: Path, tmp_path: Path, watch: Watch) -> None:
    """A writer that reserves the file first: it reads as zeros until the pixels are there."""
    whole = content(tmp_path)
    running = watch(give_up_s=NEVER_S)
    reserved = whole.replace(PIXELS.tobytes(), bytes(PIXELS.nbytes))
    assert reserved != whole
    (folder / "0.tif").write_bytes(reserved)
    tiff(folder / "1.tif", 1)
    running.start()
    assert running.frame().data[0, 0] == 2
    (folder / "0.tif").write_bytes(whole)
    assert running.frame().data[0, 0] == 1


def test_zeros_that_stay_are_delivered(folder: Path, watch: Watch) -> None:
    """So that they are counted as what they are: an empty frame."""
    running = watch(give_up_s=0.4)
    tifffile.imwrite(folder / "0.tif", np.zeros((6, 8), "u2"))
    running.start()
    assert not running.frame().data.any()


def test_deleted_before_it_could_be_read(folder: Path, watch: Watch) -> None:
    running = watch(give_up_s=NEVER_S)
    (folder / "0.tif").write_bytes(b"not a TIFF")
    dark_end = np.where(np.arange(6)[:, None] < 2, PIXELS, 0)  # so it must be quiet as well
    tifffile.imwrite(folder / "1.tif", dark_end.astype("u2"), photometric="minisblack")
    running.start()
    running.frame()  # so "0.tif" has been looked at too
    (folder / "0.tif").unlink()
    rejected = running.rejected()
    assert rejected.reason is Reason.UNREADABLE
    assert "does not exist" in rejected.detail


def test_growing_stack(folder: Path, watch: Watch) -> None:
    """Images that are added later are taken; those that have been taken are not taken again."""
    running = watch()
    tifffile.imwrite(folder / "0.tif", np.stack([PIXELS, PIXELS + 1]), photometric="minisblack")
    running.start()
    assert [running.frame().data[0, 0] for _ in range(2)] == [1, 2]
    tifffile.imwrite(folder / "0.tif", PIXELS + 2, append=True)
    frame = running.frame()
    assert (frame.image_id, frame.data[0, 0]) == (2, 3)


def test_overwritten_in_place(folder: Path, watch: Watch) -> None:
    running = watch()
    tiff(folder / "0.tif")
    running.start()
    running.frame()
    tiff(folder / "0.tif", 5)
    assert running.rejected().reason is Reason.REPEATED
    (folder / "0.tif").unlink()
    tiff(folder / "1.tif", 6)
    assert running.frame().data[0, 0] == 7


def test_subfolders_are_series(folder: Path, watch: Watch) -> None:
    tiff(folder / "scan" / "0.tif", 5)
    tiff(folder / "Ref" / "1.tif", 1)
    tiff(folder / "Ref" / "deep" / "dark_1.tif", 2)
    running = watch(silence_s=0.5)
    events = [running.next() for _ in range(9)]
    # References come first, and their series has ended when the next one starts.
    starts = [e.series_id for e in events if isinstance(e, SeriesStart)]
    assert starts == ["Ref", "Ref/deep", "scan"]
    frames = {e.series_id: e for e in events if isinstance(e, Frame)}
    assert frames["Ref"].role is Role.REFERENCE
    assert frames["Ref/deep"].role is Role.DARK
    assert frames["scan"].role is None
    assert events.index(SeriesEnd("Ref")) < events.index(frames["Ref/deep"])
    assert events.index(SeriesEnd("Ref/deep")) < events.index(frames["scan"])
    assert events[-1] == SeriesEnd("scan")
    tiff(folder / "scan" / "1.tif")
    assert running.start().series_id == "scan"
    assert running.frame().image_id == 0


def test_silence_ends_a_series(folder: Path, watch: Watch) -> None:
    running = watch(silence_s=0.4)
    tiff(folder / "0.tif")
    first = running.start().series_id
    running.frame()
    assert running.next() == SeriesEnd(first)
    tiff(folder / "1.tif")
    second = running.start().series_id
    assert second != first
    assert running.frame().image_id == 0
    assert running.next() == SeriesEnd(second)


def test_a_file_that_waits_keeps_its_series_open(
    folder: Path, tmp_path: Path, watch: Watch
) -> None:
    running = watch(silence_s=0.2, give_up_s=1.0)
    tiff(folder / "run" / "0.tif")
    running.start()
    running.frame()
    (folder / "run" / "1.tif").write_bytes(content(tmp_path)[:100])
    ends = [running.next()]
    if ends == [SeriesEnd("run")]:  # the second file came late; it has nothing to keep open
        ends = [running.next(), SeriesEnd("run")]
    else:
        ends.append(running.next())
    assert isinstance(ends[0], Rejected)
    assert ends[1] == SeriesEnd("run")


def test_role_in_the_file_comes_first(folder: Path, watch: Watch) -> None:
    with h5py.File(folder / "ref_scan.h5", "w") as file:
        detector = file.create_group("entry/instrument/detector")
        detector["data"] = np.stack([PIXELS, PIXELS + 1, PIXELS + 2])
        detector["image_key"] = [0, 2, 1]
        detector["distance"] = 2.0
        detector["distance"].attrs["units"] = "m"
    running = watch()
    start = running.start()
    assert start.beamline.distance_m == 2.0
    assert [running.frame().role for _ in range(3)] == [Role.SAMPLE, Role.DARK, Role.REFERENCE]


def test_metadata_that_cannot_be_used(folder: Path, watch: Watch) -> None:
    """A distance without a unit says nothing, but the image is good."""
    with h5py.File(folder / "0.h5", "w") as file:
        file["entry/data/data"] = PIXELS
        file["entry/instrument/detector/distance"] = 2.0
    running = watch()
    assert running.start().beamline.distance_m is None
    assert np.array_equal(running.frame().data, PIXELS)


def test_what_is_not_read(folder: Path, tmp_path: Path, watch: Watch) -> None:
    secret = tiff(tmp_path / "secret" / "0.tif", 50)
    (folder / "link.tif").symlink_to(secret)
    (folder / "links").symlink_to(secret.parent, target_is_directory=True)
    (folder / "loop.tif").symlink_to(folder / "loop.tif")
    (folder / "dangling.tif").symlink_to(folder / "nothing.tif")
    os.mkfifo(folder / "fifo.tif")
    tiff(folder / ".hidden.tif")
    tiff(folder / ".cache" / "0.tif")
    tiff(folder / "note.tif").rename(folder / "note.txt")
    tiff(folder / "stored.dat", 7)
    (folder / "inside.tif").symlink_to(folder / "stored.dat")
    tiff(folder / "Z.TIF", 8)
    running = watch()
    running.start()
    assert [running.frame().data[0, 0] for _ in range(2)] == [9, 8]
    assert running.finish() == []


def test_name_that_is_not_text(folder: Path, watch: Watch) -> None:
    os.rename(tiff(folder / "0.tif"), os.fsencode(folder) + b"/\xff.tif")  # noqa: PTH104
    running = watch()
    running.start()
    assert running.frame().origin.encode() == os.fsencode(folder) + rb"/\xff.tif"


def test_stop_hands_on_what_is_ready(folder: Path, mode: str, watch: Watch) -> None:
    running = watch(poll_interval_s=0.3, quiet_s=0)
    tiff(folder / "0.tif")
    running.start()
    running.frame()
    if mode == "events":
        return
    tiff(folder / "1.tif")  # between two looks
    assert [type(e) for e in running.finish()] == [Frame]


def test_consumer_that_stops_reading_leaves_no_thread(folder: Path, mode: str) -> None:
    tiff(folder / "0.tif")
    settings = FolderSettings.model_validate({"path": folder, "watch": mode, "quiet_s": 0})
    events = FolderSource(settings, RoleSettings()).events(threading.Event())
    assert isinstance(next(events), SeriesStart)
    events.close()


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    source = FolderSource(FolderSettings(path=tmp_path / "nowhere"), RoleSettings())
    with pytest.raises(CadeError, match="nowhere: no such folder"):
        next(source.events(threading.Event()))


def test_folder_that_cannot_be_watched(tmp_path: Path) -> None:
    with (
        pytest.raises(CadeError, match="cannot be watched"),
        FileEvents(tmp_path / "nowhere"),
    ):
        pytest.fail("entered")


def test_folder_that_vanishes_and_comes_back(
    folder: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.sources.file_watch._RESCAN_S", 0.2)
    running = watch()
    tiff(folder / "0.tif")
    running.start()
    running.frame()
    (folder / "0.tif").unlink()
    folder.rmdir()
    tiff(folder / "1.tif", 1)
    assert running.frame().data[0, 0] == 2


def test_files_whose_events_were_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The periodic look finds them."""
    monkeypatch.setattr("daemon.sources.file_watch._RESCAN_S", 0.2)
    monkeypatch.setattr(FileEvents, "take", lambda self, timeout_s: [])
    running = Running(folder, watch="events")
    try:
        tiff(folder / "0.tif")
        running.start()
        tiff(folder / "1.tif")
        running.frame()
        assert running.frame().image_id == 1
    finally:
        running.finish()


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (("REF_1.tif", "scan"), Role.REFERENCE),
        (("0.tif", "flats"), Role.FLAT),
        (("dark_0.tif", "reference"), Role.DARK),
        (("0.tif", "scan"), None),
        ((), None),
    ],
)
def test_role_of_names(names: tuple[str, ...], role: Role | None) -> None:
    assert role_of(names, RoleSettings()) is role


def test_natural_order() -> None:
    names = ["b", "a10b2", "a9", "a10b10", "a10", "a", "10", "9"]
    assert sorted(names, key=natural_order) == [
        "9", "10", "a", "a9", "a10", "a10b2", "a10b10", "b",
    ]  # fmt: skip
