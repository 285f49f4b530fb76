"""`cade retrain` on the reference of the real pair `fourrod` does not spoil what it measures.

The proxies are those of `test_real_pair.py`: the difference to window correlation on a rod without
texture, and the spread where there is no sample.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cade.files import read_frames
from models import Tracker, load_tracker
from models.weights_file import find_weights, read_card
from tests.system.test_real_pair import FREE, SMOOTH, frames, robust_std

DATA = os.environ.get("CADE_TEST_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA, reason="CADE_TEST_DATA names no folder with real frames"),
]
ROWS = slice(100, 324)
MARGIN = 48


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrain")
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "retrain", "--references", str(frames()["reference"]),
         "--flat", str(frames()["flat"]), "--name", "fourrod", "--steps", "6", "--patterns", "1",
         "--quick", "--device", "cpu", "--output", str(folder / "run"),
         "--weights-folder", str(folder)],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert "guess from the highest frequencies" in done.stderr
    return folder


def proxies(tracker: Tracker, yardstick: NDArray[np.float32]) -> list[float]:
    """Two differences to the yardstick, and two spreads, in px."""
    smooth, free = (track(tracker, columns) for columns in (SMOOTH, FREE))
    return [robust_std(f - y) for f, y in zip(smooth, yardstick, strict=True)] + [
        robust_std(f) for f in free
    ]


def track(tracker: Tracker, columns: slice) -> NDArray[np.float32]:
    """Displacements `(2, h, w)` of some columns, tracked with a margin."""
    wide = slice(columns.start - MARGIN, columns.stop + MARGIN)
    reference, sample, flat = (
        np.asarray(next(iter(read_frames(path))), np.float32)[ROWS, wide]
        for path in frames().values()
    )
    found = tracker.track(reference / flat, sample / flat)
    return np.stack([found.ux_px, found.uy_px])[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


def test_the_real_pair_is_not_worse(weights_folder: Path) -> None:
    yardstick = track(load_tracker("zncc", device="cpu", window=25), SMOOTH)
    old = proxies(load_tracker("cade", device="cpu"), yardstick)
    new = proxies(
        load_tracker("cade", device="cpu", weights="fourrod", weights_folder=weights_folder),
        yardstick,
    )
    print("old", [f"{p:.4f}" for p in old], "new", [f"{p:.4f}" for p in new])
    for before, after in zip(old, new, strict=True):
        assert after <= max(1.05 * before, 0.023)


def test_the_card_says_what_was_measured(weights_folder: Path) -> None:
    told = read_card(find_weights("fourrod", weights_folder)).training["references"]
    [pattern] = told["patterns"]
    assert pattern["visibility"] == pytest.approx(0.065, abs=0.015)
    assert 2.0 < pattern["fwhm_px"] < 4.0
    assert pattern["counts"] > 500
    assert pattern["noise_from"] == "the spectrum of one frame"
