"""The picture of a result file's first row."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from cade.errors import CadeError, UsageError
from daemon.preview import check_preview, result_panels, save_preview


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        for name in ("displacement/x", "displacement/y", "phase/phase"):
            file[f"entry/{name}"] = np.arange(48.0).reshape(2, 4, 6)
    return path


def test_what_the_file_has_is_shown(result: Path, tmp_path: Path) -> None:
    panels = result_panels(result, 1)
    assert [(p.title, p.unit) for p in panels] == [
        ("displacement x", "px"), ("displacement y", "px"), ("phase", "rad")
    ]  # fmt: skip
    assert panels[0].image[0, 0] == 24
    save_preview(result, tmp_path / "a.png", sample=np.ones((4, 6), "u2"))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert picture.size[0] > 600


def test_places_where_no_picture_can_be(tmp_path: Path) -> None:
    check_preview(tmp_path / "a.png")
    check_preview(tmp_path / "A.PNG")
    with pytest.raises(UsageError, match=r"must end in \.png"):
        check_preview(tmp_path / "a.jpg")
    with pytest.raises(UsageError, match="there is no folder"):
        check_preview(tmp_path / "gone/a.png")


def test_a_picture_that_cannot_be_written(result: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(CadeError, match=r"a\.png: the picture cannot be written \(Is a directory"):
        save_preview(result, tmp_path / "a.png", sample=np.ones((4, 6)))
