"""benchmarks/gpu_train.sh, on a CPU and with the packages of a bare machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from models.weights_file import load_weights

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_train.sh"
MISSING = (
    "pydantic", "structlog", "tqdm", "tensorboard", "xraydb", "bitshuffle", "hdf5plugin", "cbor2",
    "lz4", "zmq", "epics", "watchdog", "tomli_w", "matplotlib", "lightning",
)  # fmt: skip
RECIPE = """
name = "NAME"
[network]
options = { channels = [[4, 6], [4, 6]], blocks = [1, 1] }
[data]
patterns = 1
pattern_px = 48
crop_px = 32
[optimiser]
batch = 4
"""


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without the packages that training does not need."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({MISSING!r}))\n"
    )
    binaries = tmp_path / "bin"
    binaries.mkdir()
    python = binaries / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    kept = {"HOME", "LANG", "TMPDIR"}
    return {
        **{key: value for key, value in os.environ.items() if key in kept},
        "PATH": f"{binaries}:/usr/bin:/bin",
        "PYTHONPATH": str(site),
        "DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        "RUNS": str(tmp_path / "runs"),
        "SPEED": "0",
    }


def recipe(folder: Path, name: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(RECIPE.replace("NAME", f"tiny-{name}"))
    return path


def script(
    environment: dict[str, str], *words: object, **more: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *map(str, words)],
        env=environment | {key: str(value) for key, value in more.items()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_two_recipes_in_two_calls_whose_results_travel(
    machine: dict[str, str], tmp_path: Path
) -> None:
    """The second machine knows nothing but what came back from the first."""
    recipes = [recipe(tmp_path, name) for name in ("paper", "second")]
    words = (0.08, f"{recipes[0]}:8", recipes[1])
    first, second, back = tmp_path / "first", tmp_path / "second", tmp_path / "back"
    done = script(machine, *words, RUNS=first, OUT=back, CALL=0.0001)
    assert done.returncode == 3, done.stderr
    assert "not done" in done.stdout
    second.mkdir()
    for part in back.iterdir():
        assert part.name.startswith("results.tar.")
        shutil.move(part, second)
    done = script(machine, *words, RUNS=second, OUT=back)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("all done")
    again = script(machine, *words, RUNS=second, OUT=tmp_path / "again")
    assert again.returncode == 0
    assert "==" not in again.stdout  # nothing is left to do

    results = tmp_path / "results"
    results.mkdir()
    packed = b"".join(part.read_bytes() for part in sorted(back.glob("results.tar.*")))
    subprocess.run(["tar", "-x", "-C", str(results)], input=packed, check=True)
    for name in ("paper", "second"):
        _, card = load_weights(str(results / name / f"tiny-{name}.safetensors"))
        assert card.training["steps"] > 0
        assert card.recipe["optimiser"]["batch"] == (8 if name == "paper" else 4)
        assert (results / name / "log.csv").exists() or card.training["steps"] < 20
        assert (results / name / "predictions.png").exists()
        assert not (results / name / "checkpoint.pt").exists()
    halves = load_file(results / "paper" / "tiny-paper.safetensors")
    assert {value.element_size() for value in halves.values()} == {2}


def test_how_fast_training_is(machine: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "speed.json"
    words = [f"{recipe(tmp_path, 'x')}:8", "--device", "cpu", "--steps", "1", "--profile"]
    done = subprocess.run(
        ["python3", str(ROOT / "benchmarks/training_speed.py"), *words, "--output", str(output)],
        env=machine, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [row] = json.loads(output.read_text())
    assert row["batch"] == 8
    assert row["pairs_per_s"] > 0
    assert 0 < row["fraction"] < 1.5
    assert row["flop_per_s"] / row["pairs_per_s"] == pytest.approx(row["flop_per_pair"])
    assert "tiny-x" in done.stdout
    assert "convolution_backward" in done.stdout


def test_large_files_come_in_parts(machine: dict[str, str], tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 77
    large, out = tmp_path / "large.safetensors", tmp_path / "out"
    large.write_bytes(content)
    out.mkdir()
    assert script(machine, "collect", large, OUT=out).returncode == 0
    assert len(list(out.iterdir())) == 4
    assert script(machine, "collect", large, 4, OUT=out).returncode == 0
    parts = sorted(out.iterdir())
    assert all(part.stat().st_size <= 15 << 20 for part in parts)
    assert b"".join(part.read_bytes() for part in parts) == content


def test_what_is_wrong_is_said(machine: dict[str, str], tmp_path: Path) -> None:
    assert "usage" in script(machine).stderr
    assert script(machine, "soon").returncode == 2
    few = script(machine, 1, recipe(tmp_path, "x"), RESERVE=2)
    assert few.returncode == 2
    assert "too few" in few.stderr
    missing = script(machine, 1, tmp_path / "no.toml")
    assert missing.returncode == 2
    assert "no.toml" in missing.stderr
