"""Training on two processes under torchrun: the result of one, and an end for all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cade.errors import UsageError
from daemon.commands import main
from models.recipe import read_recipe
from models.training import LOG, Trainer
from models.training.processes import ALONE, Processes, own_device

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
RECIPE = """
name = "tiny"
seed = 5
[network]
architecture = "strainnet-f"
options = { width = 0.02 }
[data]
patterns = 2
pattern_px = 48
crop_px = 32
[optimiser]
steps = STEPS
batch = 4
rate = 3e-3
average = 0.8
loss_weights = [0.01, 0.02, 0.05, 0.1, 0.32]
"""


def recipe_file(folder: Path, steps: int) -> Path:
    path = folder / "tiny.toml"
    path.write_text(RECIPE.replace("STEPS", str(steps)))
    return path


def command(recipe: Path, folder: Path) -> list[str]:
    words = ["-m", "daemon", "train", str(recipe), "--output", str(folder)]
    return [*TORCHRUN, "2", *words, "--device", "cpu", "--threads", "1"]


def test_two_processes_give_the_result_of_one(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, 40)
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["train", str(recipe), "--output", str(one), "--device", "cpu"]) == 0
    both = subprocess.run(
        command(recipe, two), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("weights  ") == 1  # the leader's
    curves = []
    for folder in (one, two):
        rows = [line.split(",") for line in (folder / LOG).read_text().splitlines()[1:]]
        curves.append([[float(value) for value in row[:4]] for row in rows])
    assert len(curves[0]) == 2
    for first, second in zip(*curves, strict=True):
        assert second == pytest.approx(first, rel=1e-5)
    weights, others = (load_file(folder / "tiny.safetensors") for folder in (one, two))
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, atol=2e-5, rtol=1e-4)


def test_a_killed_process_ends_all(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, 1_000_000)
    folder = tmp_path / "run"
    with subprocess.Popen(
        command(recipe, folder), cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as launcher:
        try:
            while not (folder / LOG).exists():  # the timeout of the test run bounds this
                assert launcher.poll() is None
                time.sleep(0.05)
            victim = workers(launcher.pid)[1]
            os.kill(victim, signal.SIGKILL)
            _, said = launcher.communicate(timeout=120)
        finally:
            launcher.kill()
    assert launcher.returncode != 0
    assert "SIGKILL" in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers(launcher.pid))


def workers(launcher: int) -> list[int]:
    """The processes that torchrun has started, in the order of their ranks."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        ranks = [value[5:] for value in environment if value.startswith(b"RANK=")]
        if parent == launcher and ranks:
            found[int(ranks[0])] = int(folder.name)
    return [found[rank] for rank in sorted(found)]


def test_processes_must_share_the_shards_evenly(tmp_path: Path) -> None:
    assert Processes(1, 2).shards(4) == range(2, 4)
    assert ALONE.shards(4) == range(4)
    with pytest.raises(
        UsageError, match=r"3 processes cannot share the 4 shards.*optimiser\.shards"
    ):
        Processes(0, 3).shards(4)
    recipe = read_recipe(recipe_file(tmp_path, 4))
    with pytest.raises(UsageError, match="3 processes cannot share"):
        Trainer(recipe, tmp_path / "run", processes=Processes(2, 3))
    assert not (tmp_path / "run").exists()


def test_alone_there_is_nobody_to_ask() -> None:
    assert ALONE.leads
    assert ALONE.from_leader({"step": 3}) == {"step": 3}
    assert ALONE.sum(torch.ones(2)).tolist() == [1, 1]
    assert own_device(torch.device("cpu"), Processes(1, 2)) == torch.device("cpu")
    assert own_device(torch.device("cuda"), ALONE) == torch.device("cuda")
    assert own_device(torch.device("cuda", 1), Processes(0, 2)) == torch.device("cuda", 1)
