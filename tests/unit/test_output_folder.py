"""Folders that can be written, and others."""

from __future__ import annotations

from pathlib import Path

import pytest

from cade.errors import CadeError
from daemon.recording.output_folder import check_folder


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    for _ in range(2):
        check_folder(tmp_path / "a/b", "output.root")
    assert list((tmp_path / "a/b").iterdir()) == []


@pytest.mark.parametrize("folder", ["/proc/cade", "/proc", "a file/below", "a file"])
def test_no_folder_can_be_there(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(CadeError, match=r"cannot be written \(.+\); set output\.root to a place"):
        check_folder(tmp_path / folder, "output.root")
