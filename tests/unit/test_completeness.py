"""Whether a file is finished: what its own header says, cut off anywhere, with holes and locks."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from fabio.cbfimage import CbfImage  # type: ignore[import-untyped]
from fabio.edfimage import EdfImage  # type: ignore[import-untyped]

from cade.files.completeness import Stage, completeness

PIXELS = np.random.default_rng(1).integers(1, 60000, (4, 40, 50)).astype(np.uint16)


def edf(path: Path) -> None:
    image = EdfImage(data=PIXELS[0])
    for data in PIXELS[1:]:
        image.append_frame(data=data)
    image.write(str(path))


def hdf5(libver: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w", libver=libver) as file:
            file.create_dataset("entry/data/data", data=PIXELS, chunks=(1, 40, 50))

    return write


def tiff(path: Path, **options: Any) -> None:
    tifffile.imwrite(path, PIXELS, photometric="minisblack", **options)


WRITERS: dict[str, Callable[[Path], object]] = {
    "0.npy": lambda path: np.save(path, PIXELS),
    "0.tif": tiff,
    "big.tif": lambda path: tiff(path, bigtiff=True, byteorder=">"),
    "packed.tif": lambda path: tiff(path, compression="zlib"),
    "tiled.tif": lambda path: tiff(path, tile=(16, 16)),
    "0.edf": edf,
    "0.cbf": lambda path: CbfImage(data=PIXELS[0].astype("i4")).write(str(path)),
    "latest.h5": hdf5("v110"),
    "earliest.h5": hdf5("earliest"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_whole_and_cut_off_anywhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    content = path.read_bytes()
    whole = completeness(path)
    # The first notes no writers; the last tile ends with padding.
    quiet_only = name in ("earliest.h5", "tiled.tif")
    expected = Stage.UNKNOWN if quiet_only else Stage.COMPLETE
    assert (whole.stage, whole.problem) == (expected, "")
    cuts = np.random.default_rng(2).integers(0, len(content) - 8, 60)
    for length in sorted({0, 1, 7, 8, 100, *cuts.tolist()}):
        path.write_bytes(content[:length])
        found = completeness(path)
        # What is only cut behind a page boundary of a multi-frame file was whole once.
        whole_so_far = name == "0.edf" and found.stage is Stage.COMPLETE and length % 512 == 0
        assert found.stage is Stage.UNFINISHED or whole_so_far, (name, length)
        assert found.problem or whole_so_far


@pytest.mark.parametrize("name", ["0.npy", "0.tif", "0.edf"])
def test_holes_and_reserved_places(tmp_path: Path, name: str) -> None:
    """A hole is unfinished; zeros at the end are not believed."""
    path = tmp_path / name
    big = np.ones((512, 512), "u2")
    write: dict[str, Callable[[], object]] = {
        "0.npy": lambda: np.save(path, big),
        "0.tif": lambda: tifffile.imwrite(path, big),
        "0.edf": lambda: EdfImage(data=big).write(str(path)),
    }
    write[name]()
    length = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(length // 2)
        file.truncate(length)
    assert completeness(path).stage is Stage.UNFINISHED
    assert "hole" in completeness(path).problem
    with path.open("r+b") as file:
        file.seek(length // 2)
        file.write(bytes(length - length // 2))
    assert completeness(path).stage is Stage.UNKNOWN


WRITE_AND_DIE = """
import os, sys, h5py
file = h5py.File(sys.argv[1], "w", libver="v110")
data = file.create_dataset("entry/data/data", (1, 4, 4), "u2", maxshape=(None, 4, 4))
if sys.argv[2] == "swmr":
    file.swmr_mode = True
file.flush()
os._exit(0)
"""


@pytest.mark.parametrize(("mode", "stage"), [("swmr", Stage.GROWING), ("plain", Stage.UNFINISHED)])
def test_killed_hdf5_writers(tmp_path: Path, mode: str, stage: Stage) -> None:
    path = tmp_path / "0.h5"
    subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(path), mode], check=True)
    assert completeness(path).stage is stage


def test_lock_of_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "0.h5"
    hdf5("earliest")(path)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert completeness(path).stage is Stage.LOCKED
        fcntl.flock(file, fcntl.LOCK_SH)  # a reader
        assert completeness(path).stage is Stage.UNKNOWN
    with path.open("rb") as file:  # and none of ours stays
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_user_block_and_other_things(tmp_path: Path) -> None:
    path = tmp_path / "0.h5"
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["data"] = PIXELS
    assert completeness(path).problem == ""
    (tmp_path / "x.png").write_bytes(b"x")
    assert completeness(tmp_path / "x.png").stage is Stage.UNKNOWN
    with pytest.raises(FileNotFoundError):
        completeness(tmp_path / "none.tif")
    os.mkfifo(tmp_path / "pipe.h5")
    for other in (tmp_path, tmp_path / "pipe.h5"):
        with pytest.raises(OSError, match=r"not a file|directory"):
            completeness(other)


def test_directories_that_go_round(tmp_path: Path) -> None:
    path = tmp_path / "0.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + b"\0\0" + (8).to_bytes(4, "little"))
    assert completeness(path).stage is Stage.UNKNOWN
