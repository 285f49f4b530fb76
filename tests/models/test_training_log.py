"""What a run leaves for people to look at: curves and pictures."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cade.errors import CadeError
from models.estimate import Estimate
from models.training import LOG, LOG_EVERY, Progress, Trainer
from models.training.log import COLUMNS, TENSORBOARD, TrainingLog
from models.training.picture import PICTURE, prediction_picture, write_picture
from simulator.pairs import PairSample
from tests.models.training_run import recipe


def row(step: int) -> Progress:
    return Progress(step, 100, 0.5 / step, 0.1, 1e-3, 2.0, 17.0, 1)


def lines(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / LOG).read_text().splitlines()))


def test_a_run_leaves_a_curve_and_a_picture(tmp_path: Path) -> None:
    Trainer(recipe(steps=LOG_EVERY), tmp_path).run()
    [line] = lines(tmp_path)
    assert tuple(line) == COLUMNS
    assert float(line["samples_per_s"]) > 0
    assert line["skipped"] == "0"
    with Image.open(tmp_path / PICTURE) as image:
        assert image.size == (5 * (128 + 4), 14 + 2 * (128 + 4) // 2)  # 32 px, four times as large


def test_lines_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, 0, lambda _: None)
    for step in (20, 40, 60):
        log.write(row(step))
    log.close()
    again = TrainingLog(tmp_path, 45, lambda _: None)
    again.write(row(60))
    again.close()
    assert [line["step"] for line in lines(tmp_path)] == ["20", "40", "60"]


def test_without_tensorboard_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    warnings: list[str] = []
    log = TrainingLog(tmp_path, 0, warnings.append)
    log.write(row(20))
    log.picture(torch.zeros(4, 4, 3, dtype=torch.uint8), 20)
    log.close()
    assert [text for text in warnings if "TensorBoard is not installed" in text] == warnings
    assert len(warnings) == 1
    assert not (tmp_path / TENSORBOARD).exists()


@pytest.mark.filterwarnings("ignore")  # those of TensorBoard's own packages
def test_tensorboard_shows_curves_and_pictures(tmp_path: Path) -> None:
    module = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(module).EventAccumulator
    warnings: list[str] = []
    log = TrainingLog(tmp_path, 0, warnings.append)
    for step in (20, 40):
        log.write(row(step))
    log.picture(torch.zeros(4, 4, 3, dtype=torch.uint8), 40)
    log.close()
    assert not warnings
    events = accumulator(str(tmp_path / TENSORBOARD)).Reload()
    curve = {e.step: e.value for e in events.Scalars("loss")}
    assert curve == {20: pytest.approx(0.5 / 20), 40: pytest.approx(0.5 / 40)}
    assert [e.step for e in events.Images("predictions")] == [40]


def still(reference: torch.Tensor, sample: torch.Tensor) -> list[Estimate]:
    """A network that finds 1 px to the left, but nothing at all in the first pixel."""
    count, _, height, width = reference.shape
    u = torch.zeros(count, 2, height, width)
    u[:, 0] = -1
    u[:, :, 0, 0] = math.nan
    return [Estimate(u)]


def test_the_picture_shows_truth_and_prediction(tmp_path: Path) -> None:
    frames = 1 + 0.1 * torch.randn(2, 112, 112, generator=torch.Generator().manual_seed(1))
    u = torch.zeros(2, 2, 112, 112)
    u[1, 0] = 1
    pairs = PairSample(frames, frames, u, torch.ones(2, 112, 112))
    image = prediction_picture(still, pairs)
    assert image.shape == (2 * 116, 5 * 116, 3)
    white, blue, red, black = (255, 255, 255), (0, 0, 255), (255, 0, 0), (0, 0, 0)
    seen = [
        tuple(image[50 + 116 * line, 50 + 116 * column].tolist())
        for line in (0, 1)
        for column in (2, 3, 4)
    ]
    assert seen == [white, blue, blue, red, blue, blue]
    assert tuple(image[0, 3 * 116].tolist()) == black
    write_picture(image, tmp_path / PICTURE)
    with Image.open(tmp_path / PICTURE) as stored:
        assert np.array_equal(np.asarray(stored)[14:], image.numpy())
        assert np.asarray(stored)[:14].min() < 128  # titles


def test_picture_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "predictions.part.png").symlink_to("/dev/full")
    with pytest.raises(CadeError, match=r"predictions\.png cannot be written"):
        write_picture(torch.zeros(200, 200, 3, dtype=torch.uint8), tmp_path / PICTURE)
