"""`cade demo` as a user runs it; and that it fails when the network says nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from models.architectures import build_network
from models.weights_file import Card, save_weights

COUNTS = ("kept as references", "written")
SMALL = ["--frames", "8", "--shape", "256", "256"]


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", "demo", "--output", str(folder), *SMALL, *options],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_demo_ends_well_by_itself(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    kept, written = (int(re.search(rf"{what} +(\d+)\n", done.stdout)[1]) for what in COUNTS)  # type: ignore[index]
    assert kept + written == 4 + 8 - 5, "a broken image is neither"
    assert "4 malformed, 1 no_series, 1 wrong_shape" in done.stdout
    with Image.open(tmp_path / "demo.png") as picture:
        assert min(picture.size) > 500
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".h5", ".png"]


@pytest.fixture
def silent_weights(tmp_path: Path) -> Path:
    """A network that answers zero everywhere, as it does before any training."""
    path = tmp_path / "silent.safetensors"
    torch.manual_seed(0)
    card = Card("silent", "cade", {}, "", "", {}, {}, {}, [])
    save_weights(build_network("cade", {}), path, card)
    return path


def test_demo_fails_without_the_network(tmp_path: Path, silent_weights: Path) -> None:
    done = demo(tmp_path / "demo", "--weights", str(silent_weights))
    assert done.returncode == 1
    assert "end-point error above" in done.stderr
    assert "phase error is" in done.stderr
