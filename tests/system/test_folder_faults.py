"""A watched folder: bad input is named and counted, the next file read; network disks; order."""

from __future__ import annotations

import ctypes
import errno
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from cade.files import UnreadableFile
from cade.frames import Event, Frame, Reason, Rejected
from daemon.sources.file_finder import FileFinder, Sighting
from daemon.sources.file_reader import FileReader
from tests.growing_writer import picture
from tests.running_folder import NEVER_S, PATIENCE_S, Running, soon

Watch = Callable[..., Running]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def watch(folder: Path) -> Iterator[Watch]:
    started: list[Running] = []

    def start(mode: str = "polling", **settings: object) -> Running:
        started.append(Running(folder, watch=mode, **settings))
        return started[-1]

    yield start
    for running in started:
        running.finish()


def tiff(path: Path, number: int = 0) -> Path:
    tifffile.imwrite(path, picture(number))
    return path


# ---------------------------------------------------------------- bad input


def half(folder: Path) -> None:
    content = tiff(folder / "bad.tif").read_bytes()
    (folder / "bad.tif").write_bytes(content[: len(content) // 2])


def broken_link(folder: Path) -> None:
    with h5py.File(folder / "bad.h5", "w") as file:
        file["entry/data/data"] = h5py.ExternalLink("missing.h5", "/data")


def secret(folder: Path) -> Path:
    path = folder.parent / "secret.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.stack([picture(1)])
    return path


def link_out(folder: Path) -> None:
    with h5py.File(folder / "bad.h5", "w") as file:
        file["entry/data/data"] = h5py.ExternalLink(str(secret(folder)), "/data")


def soft_link_out(folder: Path) -> None:
    with h5py.File(folder / "bad.h5", "w") as file:
        file["hidden"] = h5py.ExternalLink(str(secret(folder)), "/")
        file["entry/data/data"] = h5py.SoftLink("/hidden/data")


def stored_outside(folder: Path) -> None:
    (folder.parent / "raw").write_bytes(bytes(range(1, 65)))
    with h5py.File(folder / "bad.h5", "w") as file:
        where = [(str(folder.parent / "raw"), 0, 64)]
        file.create_dataset("entry/data/data", (1, 8, 8), "u1", external=where)


def virtual(folder: Path, name: str, count: int) -> None:
    layout = h5py.VirtualLayout((count, 24, 32), "u2")
    layout[:] = h5py.VirtualSource(name, "data", (count, 24, 32))
    with h5py.File(folder / "bad.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)


def virtual_out(folder: Path) -> None:
    virtual(folder, str(secret(folder)), 1)


def huge_virtual(folder: Path) -> None:
    with h5py.File(folder / "source.dat", "w") as file:
        file["data"] = np.zeros((0, 24, 32), "u2")
    virtual(folder, "source.dat", 10**12)


def never_written(folder: Path) -> None:
    with h5py.File(folder / "bad.h5", "w") as file:
        file.create_dataset("entry/data/data", (10**9, 24, 32), "u2", chunks=(1, 24, 32))


def absurd_tiff(folder: Path) -> None:
    """The pixel counts of its directory say 2^31 by 2^31."""
    content = bytearray(tiff(folder / ".bad.tif").read_bytes())
    with tifffile.TiffFile(folder / ".bad.tif") as file:
        tags = file.pages.first.tags
        places = [tags[name].offset for name in ("ImageWidth", "ImageLength")]
    for place in places:
        content[place + 2 : place + 4] = (4).to_bytes(2, "little")
        content[place + 8 : place + 12] = (2**31 - 1).to_bytes(4, "little")
    (folder / ".bad.tif").write_bytes(content)
    (folder / ".bad.tif").rename(folder / "bad.tif")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "half": (half, "truncated"),
    "empty": (lambda folder: (folder / "bad.h5").touch(), "is empty"),
    "garbage": (lambda folder: (folder / "bad.npy").write_bytes(b"x" * 99), "does not begin"),
    "directory": (lambda folder: (folder / "bad.h5").mkdir(), "is a folder"),
    "fifo": (lambda folder: os.mkfifo(folder / "bad.tif"), "is not a file"),
    "link nowhere": (lambda f: (f / "bad.tif").symlink_to(f / "no.tif"), "leads nowhere"),
    "link outside": (
        lambda folder: (folder / "bad.h5").symlink_to(secret(folder)),
        "leads out of",
    ),
    "external link broken": (broken_link, "links to missing.h5, which cannot be opened"),
    "external link outside": (link_out, "which is outside"),
    "soft link outside": (soft_link_out, "which is outside"),
    "external storage": (stored_outside, "which is outside"),
    "virtual outside": (virtual_out, "which is outside"),
    "huge virtual": (huge_virtual, "takes frames from source.dat, which holds no pixels"),
    "never written": (never_written, "none of which has been written"),
    "absurd TIFF": (absurd_tiff, "bad.tif: "),
    "old EDF": (lambda f: (f / "bad.edf").write_bytes(b"{ Dim_1 = 99999999 ;"), "truncated"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_file_among_good_ones(folder: Path, watch: Watch, kind: str) -> None:
    make, message = BAD[kind]
    running = watch(give_up_s=0.3)
    tiff(folder / "a.tif", 1)
    running.start()
    frames = running.frames(1)
    make(folder)
    rejected = running.rejected()
    tiff(folder / "c.tif", 2)
    frames += running.frames(1)
    assert rejected.reason is Reason.UNREADABLE
    assert Path(rejected.origin).stem == "bad"
    assert message in rejected.detail
    assert (rejected.image_id, [frame.image_id for frame in frames]) == (-1, [0, 1])
    assert running.finish() == []


def test_file_that_this_user_may_not_read(tmp_path: Path) -> None:
    """Also where the tests run as root: the thread gives that up for its own file accesses."""
    path = tiff(tmp_path / "0.tif")
    path.chmod(0)
    problems: queue.Queue[str] = queue.Queue()

    def read() -> None:
        ctypes.CDLL(None).setfsuid(65534)
        try:
            list(FileReader(tmp_path).images(path, 0))
        except UnreadableFile as error:
            problems.put(error.problem)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(PATIENCE_S)
    assert "Permission denied" in problems.get_nowait()


# ---------------------------------------------------------------- as on a network file system


PIECES = """
import os, sys
path, source, steps = sys.argv[1], open(sys.argv[2], "rb").read(), 5
for line in sys.stdin:
    command, number = line.split()
    if command == "piece":  # the next piece; the time of change goes back, as between two clocks
        number = int(number)
        with open(path, "r+b" if os.path.exists(path) else "wb") as file:
            file.seek(number * len(source) // steps)
            file.write(source[number * len(source) // steps : (number + 1) * len(source) // steps])
        os.utime(path, (1.7e9 - number, 1.7e9 - number))
    elif command == "length":  # the size is right before anything of the content is there
        with open(path, "ab") as file:
            file.truncate(0)
            file.truncate(len(source))
    elif command == "rename":
        os.rename(path, path + ".away") if number == "away" else os.rename(path + ".away", path)
    print("done", flush=True)
"""


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Another machine that writes `0.tif`, as this process sees it."""
    tifffile.imwrite(tmp_path / "source.tif", np.stack([picture(n, (64, 64)) for n in range(5)]))
    command = [sys.executable, "-c", PIECES, str(folder / "0.tif"), str(tmp_path / "source.tif")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def do(line: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(line + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        yield do
        process.communicate(timeout=PATIENCE_S)


def check_five(running: Running) -> None:
    running.start()
    for number, frame in enumerate(running.frames(5)):
        assert frame.image_id == number
        np.testing.assert_array_equal(frame.data, picture(number, (64, 64)))


def test_slow_pieces_and_times_that_go_back(watch: Watch, server: Callable[[str], None]) -> None:
    """Quiet between two pieces, but not complete by its own header."""
    running = watch(give_up_s=NEVER_S)
    for number in range(5):
        assert soon(running) is None
        server(f"piece {number}")
    check_five(running)
    assert running.finish() == []


def test_length_before_content(watch: Watch, server: Callable[[str], None]) -> None:
    running = watch(give_up_s=NEVER_S)
    server("length 0")
    for number in (1, 2, 3, 4, 0):
        assert soon(running) is None
        server(f"piece {number}")
    check_five(running)
    assert running.finish() == []


def test_file_that_is_not_seen_for_a_moment(
    folder: Path, watch: Watch, server: Callable[[str], None]
) -> None:
    """Neither lost, nor taken twice when it is back with another time."""
    running = watch(poll_interval_s=0.2)
    for number in range(5):
        server(f"piece {number}")
    check_five(running)
    server("rename away")
    assert soon(running) is None
    server("rename back")
    assert soon(running) is None
    os.utime(folder / "0.tif", (1.8e9, 1.8e9))  # the server's own clock, later
    assert soon(running) is None
    assert running.finish() == []


def test_stale_handle(folder: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """ESTALE cannot be had on a local disk, so this one error is injected, where stat meets it."""
    tiff(folder / "0.tif", 1)
    running = watch(poll_interval_s=0.2)
    running.start()
    running.frame()
    lstat, stale = Path.lstat, [True]

    def broken(path: Path) -> os.stat_result:
        if stale[0] and path.suffix == ".tif":
            raise OSError(errno.ESTALE, "Stale file handle")
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", broken)
    finder = FileFinder(folder, ("*.tif",))
    assert finder.look(folder / "0.tif") is None
    stale[0] = False
    assert isinstance(finder.look(folder / "0.tif"), Sighting)
    assert soon(running) is None
    assert running.finish() == []


def test_changed_in_place_without_a_new_image(folder: Path, watch: Watch) -> None:
    running = watch()
    tiff(folder / "0.tif", 1)
    running.start()
    running.frame()
    os.utime(folder / "0.tif", (1.6e9, 1.6e9))
    assert soon(running) is None, "the same images with another time"
    tiff(folder / "0.tif", 2)
    assert running.rejected().reason is Reason.REPEATED


# ---------------------------------------------------------------- order, metadata


def origins(events: list[Event]) -> list[str]:
    return [Path(event.origin).name for event in events if isinstance(event, Frame)]


def stamped(path: Path, number: int, header_s: int, mtime_s: float) -> None:
    tags = [(65002, "I", 1, header_s, True), (65003, "I", 1, 500_000_000, True)]
    tifffile.imwrite(path, picture(number), extratags=tags)
    os.utime(path, (mtime_s, mtime_s))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("name", ["1.tif", "2.tif", "3.npy", "10.tif"]),
        ("time", ["10.tif", "3.npy", "1.tif", "2.tif"]),
        ("header", ["2.tif", "10.tif", "1.tif", "3.npy"]),
    ],
)
def test_order(folder: Path, watch: Watch, order: str, expected: list[str]) -> None:
    now = 1.75e9
    stamped(folder / "1.tif", 1, 300, now + 3)
    stamped(folder / "2.tif", 2, 100, now + 4)
    stamped(folder / "10.tif", 10, 200, now + 1)
    np.save(folder / "3.npy", picture(3))
    os.utime(folder / "3.npy", (now + 2, now + 2))
    running = watch(order=order, quiet_s=0.0)
    start = running.start()
    frames = running.frames(4)
    assert origins(list(frames)) == expected
    assert start.series_id == frames[0].series_id
    by_name = {Path(frame.origin).name: frame.timestamp_s for frame in frames}
    assert by_name["2.tif"] == 631_152_000 + 100.5
    assert by_name["3.npy"] == now + 2


@pytest.mark.parametrize(("number", "detector"), [("E-08", "E-08"), ("", "mine")])
def test_detector_and_diffuser(folder: Path, watch: Watch, number: str, detector: str) -> None:
    with h5py.File(folder / ".0.h5", "w") as file:
        file["entry/data/data"] = picture(1)
        file["entry/instrument/detector/detector_number"] = number
        file["entry/instrument/diffuser_x/value"] = -1.5
        file["entry/instrument/diffuser_x/value"].attrs["units"] = "mm"
    (folder / ".0.h5").rename(folder / "0.h5")
    running = watch(detector="mine", diffuser="/entry/instrument/diffuser_x/value")
    beamline = running.start().beamline
    assert (beamline.detector, beamline.diffuser_m) == (detector, -1.5e-3)


def test_detector_of_files_that_say_nothing(folder: Path, watch: Watch) -> None:
    tiff(folder / "0.tif")
    assert watch(detector="mine").start().beamline.detector == "mine"


def test_rejections_are_kept_apart(folder: Path, watch: Watch) -> None:
    """Two bad files are two losses."""
    running = watch(give_up_s=0.2)
    for name in ("a.h5", "b.h5"):
        (folder / name).touch()
    events = [running.next() for _ in range(2)]
    assert all(isinstance(event, Rejected) for event in events)
