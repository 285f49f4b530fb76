"""Row files: always readable, never overwriting, complete or not complete."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from cade.errors import CadeError, UsageError
from simulator import row_file
from simulator.row_file import RowFile
from simulator.row_layout import Column, Table, unfinished_path
from simulator.stored_rows import is_finished, open_rows, stored_settings

KIND = "cade test rows"
SETTINGS: dict[str, Any] = {"seed": 1, "shape": [6, 8], "name": "a"}
COLUMNS = (Column("image", "u2", "counts", (6, 8)), Column("width", "f4", "px", meaning="of it"))
TABLES = [Table("train", 5, COLUMNS), Table("test", 1, COLUMNS), Table("none", 0, COLUMNS)]
PLACES = [("train", row) for row in range(5)] + [("test", 0)]


def values(group: str, row: int) -> dict[str, NDArray[Any] | float]:
    start = 100 * row + len(group)
    return {"image": np.arange(start, start + 48).reshape(6, 8), "width": row + 0.5}


def begin(path: Path, *, resume: bool = False, settings: dict[str, Any] = SETTINGS) -> RowFile:
    return RowFile(path, KIND, settings, TABLES, resume=resume)


def complete(path: Path, places: list[tuple[str, int]] = PLACES) -> Path:
    with begin(path) as file:
        for group, row in places:
            file.write(group, row, values(group, row))
        file.finish()
    return path


def test_rows_in_any_order_make_the_same_file(tmp_path: Path) -> None:
    first = complete(tmp_path / "new/folder/a.h5")
    second = complete(tmp_path / "b.h5", PLACES[::-1])
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["b.h5"]
    with open_rows(first, KIND) as file:
        assert set(file) == {"train", "test"}
        for group, row in PLACES:
            expected = values(group, row)
            np.testing.assert_array_equal(file[group]["image"][row], expected["image"])
            assert file[group]["width"][row] == expected["width"]
        assert file["train/image"].chunks == (1, 6, 8)
        assert file["train/image"].attrs["units"] == "counts"
        assert file["train/width"].attrs["long_name"] == "of it"
        assert file.attrs["seed"] == 1
        assert json.loads(file.attrs["settings"]) == SETTINGS
        assert file.attrs["creator_version"]
    assert is_finished(first, KIND, SETTINGS)
    assert not is_finished(first, KIND, {**SETTINGS, "seed": 2})
    assert not is_finished(tmp_path / "c.h5", KIND, SETTINGS)


def test_what_was_written_is_kept_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    interrupted = begin(path)
    interrupted.write("train", 3, values("train", 3))
    interrupted.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not path.exists()
    with h5py.File(unfinished_path(path)) as stored:  # readable at any time
        np.testing.assert_array_equal(stored["train/written"], [0, 0, 0, 1, 0])
    with begin(path, resume=True) as file:
        assert (file.missing("train"), file.missing("test")) == ([0, 1, 2, 4], [0])
        assert file.missing("none") == []
        for group in ("train", "test"):
            for row in file.missing(group):
                file.write(group, row, values(group, row))
        file.finish()
    assert path.read_bytes() == complete(tmp_path / "b.h5").read_bytes()


def test_only_committed_rows_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with begin(tmp_path / "a.h5") as file:
        file.write("train", 1, values("train", 1))
        assert file.missing("train") == [0, 1, 2, 3, 4]
        file.commit()
        assert file.missing("train") == [0, 2, 3, 4]
        monkeypatch.setattr(row_file, "COMMIT_S", 0.0)
        file.write("train", 2, values("train", 2))
        assert file.missing("train") == [0, 3, 4]
        with pytest.raises(RuntimeError, match="4 rows are missing"):
            file.finish()
        with pytest.raises(ValueError, match="image"):
            file.write("train", 4, {"image": np.zeros((2, 2)), "width": 1.0})


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_text("precious")
    for resume in (False, True):
        with pytest.raises(UsageError, match=r"a\.h5 exists already; choose another output"):
            begin(path, resume=resume)
    assert path.read_text() == "precious"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]
    other = complete(tmp_path / "b.h5")
    before = other.read_bytes()
    with pytest.raises(UsageError, match=r"exists already with other settings \(seed 1, not 2\)"):
        begin(other, resume=True, settings={**SETTINGS, "seed": 2})
    assert other.read_bytes() == before


def test_unfinished_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    begin(path).__exit__(None, None, None)
    before = unfinished_path(path).read_bytes()
    with pytest.raises(UsageError, match=r"a\.h5\.part is unfinished; continue it with --resume"):
        begin(path)
    expected = r"begun with other settings \(name \"a\", not null, seed 1, not 3\)"
    with pytest.raises(UsageError, match=expected):
        begin(path, resume=True, settings={"seed": 3, "shape": [6, 8]})
    assert unfinished_path(path).read_bytes() == before
    unfinished_path(path).write_text("something else")
    with pytest.raises(UsageError, match=r"a\.h5\.part is not an unfinished cade test rows"):
        begin(path, resume=True)
    assert unfinished_path(path).read_text() == "something else"


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with begin(path), pytest.raises(CadeError, match="another process is writing it"):
        begin(path, resume=True)
    begin(path, resume=True).__exit__(None, None, None)


def test_a_damaged_unfinished_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    begin(path).__exit__(None, None, None)
    with h5py.File(unfinished_path(path), "r+") as file:
        del file["train/width"]
    with pytest.raises(CadeError, match=r"a\.h5\.part: damaged .+; remove it and begin again"):
        begin(path, resume=True)


@pytest.mark.parametrize("keep", [0, 40, 3000, -1])
def test_truncated_files_are_no_row_files(tmp_path: Path, keep: int) -> None:
    path = complete(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:keep])
    assert stored_settings(path, KIND) is None
    with (
        pytest.raises(CadeError, match=r"a\.h5: damaged, or no cade test rows"),
        open_rows(path, KIND),
    ):
        pass


def test_readers_take_only_complete_files_of_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(CadeError, match=r"a\.h5: no such file$"), open_rows(path, KIND):
        pass
    with begin(path) as file:
        file.write("train", 0, values("train", 0))
    expected = r"a\.h5: no such file; a\.h5\.part is unfinished: use --resume"
    with pytest.raises(CadeError, match=expected), open_rows(path, KIND):
        pass
    expected = r"incomplete, 1 of 6 rows; finish it with --resume"
    with pytest.raises(CadeError, match=expected), open_rows(unfinished_path(path), KIND):
        pass
    with (
        pytest.raises(CadeError, match="damaged, or no other"),
        open_rows(complete(tmp_path / "b.h5"), "other"),
    ):
        pass


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses to write beyond `size` bytes of any file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_stops_taking_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with begin(path) as file:
        file.write("train", 0, values("train", 0))
        file.commit()
        expected = r"a\.h5\.part: cannot be written \(File too large\); what is complete is kept"
        with largest_file(2048 + 150), pytest.raises(CadeError, match=expected):
            file.write("train", 4, values("train", 4))
    with begin(path, resume=True) as file:
        assert file.missing("train") == [1, 2, 3, 4]


def test_no_space_is_found_out_before_the_first_row(tmp_path: Path) -> None:
    expected = r"a\.h5: cannot be written \(File too large\); choose an output"
    with largest_file(3000), pytest.raises(CadeError, match=expected):
        begin(tmp_path / "a.h5")
    huge = [Table("train", 10**9, (Column("image", "u4", "", (5000, 5000)),))]
    with pytest.raises(CadeError, match=r"a\.h5: needs 1e\+08 GB, and its disk has .+ GB free"):
        RowFile(tmp_path / "a.h5", KIND, SETTINGS, huge)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["/proc/cade", "a file/below", "a file"])
def test_no_folder_can_be_there(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(CadeError, match=r"a\.h5: cannot be written \(.+\); choose an output"):
        begin(tmp_path / folder / "a.h5")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk(small_disk: Path) -> None:
    """Just more than fits, so that only the reservation of the space can find it out."""
    images = Column("image", "u1", "", (1000,))
    with pytest.raises(CadeError, match=r"a\.h5: (needs|cannot be written \(No space left)"):
        RowFile(small_disk / "a.h5", KIND, SETTINGS, [Table("train", 65, (images,))])
    assert list(small_disk.iterdir()) == []
    with RowFile(small_disk / "a.h5", KIND, SETTINGS, [Table("train", 20, (images,))]) as file:
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "other").write_bytes(bytes(60 * 1024))
        for row in range(20):  # their space is theirs, whatever else is written
            file.write("train", row, {"image": np.full(1000, row)})
        file.finish()


def test_settings_of_other_files(tmp_path: Path) -> None:
    assert stored_settings(tmp_path / "none.h5", KIND) is None
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["format"] = KIND
    assert stored_settings(tmp_path / "a.h5", KIND) is None
