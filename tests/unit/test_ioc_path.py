"""Names of files by an IOC, which may be anything, and never lead out of the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.sources.ioc_path import is_plain, local_path


@pytest.mark.parametrize(
    ("name", "ioc_root", "inside"),
    [
        ("{root}/a.h5", "", "a.h5"),
        ("/mnt/raid/b/a.h5", "/mnt/raid", "b/a.h5"),
        ("/mnt/raid//a.h5", "/mnt/raid/", "a.h5"),
        ("X:\\data\\b\\a.tif", "X:\\data", "b/a.tif"),
        ("x:/data/a.tif", "X:\\data", "a.tif"),
        ("\\\\raid\\share\\a.tif", "\\\\raid\\share", "a.tif"),
        ("/mnt/raid/..a.h5", "/mnt/raid", "..a.h5"),
    ],
)
def test_inside(name: str, ioc_root: str, inside: str, tmp_path: Path) -> None:
    assert local_path(name.format(root=tmp_path), tmp_path, ioc_root) == tmp_path / inside


@pytest.mark.parametrize(
    ("name", "ioc_root", "problem"),
    [
        ("/etc/passwd", "", "is not inside"),
        ("a.h5", "", "is not inside"),
        ("/mnt/raid2/a.h5", "/mnt/raid", "is not inside /mnt/raid; set ioc_path"),
        ("Y:\\data\\a.tif", "X:\\data", "is not inside"),
        ("/mnt/raid/../../etc/passwd", "/mnt/raid", "leads out of"),
        ("/mnt/raid/b/../a.h5", "/mnt/raid", "leads out of"),
        ("X:\\data\\..\\a.tif", "X:\\data", "leads out of"),
        ("/mnt/raid", "/mnt/raid", "leads out of"),
        ("/mnt/raid/out/a.h5", "/mnt/raid", "leads out of"),
        ("/mnt/raid/loop/a.h5", "/mnt/raid", "leads out of"),
        ("/mnt/raid/" + "a" * 300 + "/x\0y", "/mnt/raid", "leads out of"),
    ],
)
def test_not_inside(name: str, ioc_root: str, problem: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(ValueError, match=problem):
        local_path(name, root, ioc_root)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    assert [is_plain(tmp_path / name) for name in ("fifo", "file", "none")] == [False, True, True]
    assert not is_plain(tmp_path)
