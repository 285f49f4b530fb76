"""`cade process` on the real synchrotron pair `fourrod`: 25 keV, 0.7 m, 6.5 µm, visibility 6.5 %.

The independent measurement with 13 diffuser positions is not among the data, so these are proxies:
the disagreement with window correlation where the sample is smooth enough for it, and the spread
where there is no sample. Both contain the noise of the yardstick or of the single shot itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the bitshuffle filter
import numpy as np
import pytest
from numpy.typing import NDArray

from cade.files import read_frames
from models import load_tracker

DATA = os.environ.get("CADE_TEST_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA, reason="CADE_TEST_DATA names no folder with real frames"),
]
FREE = slice(1430, 1550)
"""Columns without sample."""
SMOOTH = slice(620, 980)
"""Columns of a rod without texture of its own."""


def robust_std(values: NDArray[Any]) -> float:
    values = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def frames() -> dict[str, Path]:
    folder = Path(str(DATA)) / "fourrod"
    return {
        "reference": folder / "ReferenceSpeckle_1.tif",
        "sample": folder / "SamplePlusSpeckle_1.tif",
        "flat": folder / "Flatfield.tif",
    }


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    output, preview = folder / "scan.h5", folder / "scan.png"
    options = [f"--{role}={path}" for role, path in frames().items()]
    optics = ["--energy-kev", "25", "--distance-m", "0.7", "--pixel-um", "6.5"]
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "process", *options, *optics,
         "--output", str(output), "--preview", str(preview)],
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert preview.stat().st_size > 10_000
    return output


def field(result: Path, name: str) -> NDArray[Any]:
    with h5py.File(result, "r") as file:
        values: NDArray[Any] = file["entry"][name][0]
    return values


def test_nearly_every_pixel_is_valid(result: Path) -> None:
    share = np.isfinite(field(result, "displacement/x")).mean()
    print(f"valid pixels: {share:.2%}")  # pytest -s shows what was measured
    assert share >= 0.99


def test_agreement_with_window_correlation(result: Path) -> None:
    reference, sample, flat = (
        np.asarray(next(iter(read_frames(path))), np.float32)[:, 560:1040]
        for path in frames().values()
    )
    zncc = load_tracker("zncc", device="cpu", window=25).track(reference / flat, sample / flat)
    inside = slice(SMOOTH.start - 560, SMOOTH.stop - 560)
    for name, yardstick in (("x", zncc.ux_px), ("y", zncc.uy_px)):
        found = field(result, f"displacement/{name}")[:, SMOOTH]
        difference = robust_std(found - yardstick[:, inside])
        print(f"difference to zncc, {name}: {difference:.4f} px")
        assert difference <= 0.03


def test_sample_free_region_is_quiet(result: Path) -> None:
    for name in ("x", "y"):
        spread = robust_std(field(result, f"displacement/{name}")[:, FREE])
        print(f"spread without sample, {name}: {spread:.4f} px")
        assert spread <= 0.023


def test_rods_look_like_rods(result: Path) -> None:
    # The smooth rod absorbs, and its edges refract in opposite directions.
    transmission = field(result, "transmission/transmission")
    assert transmission[:, SMOOTH].mean() < 0.95 * transmission[:, FREE].mean()
    ux = field(result, "displacement/x")
    left, right = np.median(ux[:, 585:625]), np.median(ux[:, 960:1000])
    assert left * right < 0
    assert np.isfinite(field(result, "phase/phase")).mean() >= 0.99
