"""Precision and compiler: what is chosen, and that training goes on without a compiler."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.estimate import Estimate
from models.recipe import MachineRecipe
from models.training import Trainer
from models.training.execution import estimate, runs_in_bfloat16, tune, wants_compiling
from tests.models.training_run import recipe, strainnet_recipe

ROOT = Path(__file__).parents[2]
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("machine", "bfloat16", "compiling"),
    [
        (MachineRecipe(), (False, True), (False, True)),
        (MachineRecipe("float32", "off"), (False, False), (False, False)),
        (MachineRecipe("bfloat16", "on"), (True, True), (True, True)),
    ],
)
def test_what_the_recipe_leaves_open_goes_with_the_device(
    machine: MachineRecipe, bfloat16: tuple[bool, bool], compiling: tuple[bool, bool]
) -> None:
    assert tuple(runs_in_bfloat16(machine, device) for device in (CPU, GPU)) == bfloat16
    assert tuple(wants_compiling(machine, device) for device in (CPU, GPU)) == compiling


def test_estimates_are_float32_whatever_the_network_computes_in() -> None:
    seen: list[torch.dtype] = []
    convolution = torch.nn.Conv2d(1, 4, 3, padding=1)

    def network(reference: torch.Tensor, sample: torch.Tensor) -> list[Estimate]:
        out = convolution(sample)
        seen.append(out.dtype)
        return [Estimate(out[:, :2], out[:, 2:])]

    frames = 1 + 0.1 * torch.randn(2, 1, 32, 32)
    for bfloat16 in (False, True):
        [found] = estimate(network, frames[0], frames[1], bfloat16=bfloat16)
        assert found.u_px.dtype == torch.float32
        assert found.log_sigma is not None
        assert found.log_sigma.dtype == torch.float32
    assert seen == [torch.float32, torch.bfloat16]


def test_half_the_digits_train_as_well(tmp_path: Path) -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        options = dataclasses.replace(recipe(steps=20), machine=MachineRecipe(precision))
        seen: list[float] = []
        Trainer(options, tmp_path / precision).run(report=lambda p, seen=seen: seen.append(p.loss))  # type: ignore[misc]
        losses += seen
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_nothing_is_tuned_on_a_cpu() -> None:
    before = torch.get_float32_matmul_precision()
    tune(CPU)
    assert torch.get_float32_matmul_precision() == before


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
import torch._inductor.config
from models.recipe import MachineRecipe
from models.training import Trainer
from tests.models.training_run import strainnet_recipe

if sys.argv[2] == "none":
    torch._inductor.config.cpp.cxx = ("no-such-compiler",)
torch.set_num_threads(1)
options = replace(strainnet_recipe(), machine=MachineRecipe(compile="on"))
trainer = Trainer(options, Path(sys.argv[1]))
trainer.run(warn=print)
print("steps", trainer.step)
"""


def test_without_a_compiler_training_goes_on(tmp_path: Path) -> None:
    """With the network that is traced sooner."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), "none"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = [line for line in done.stdout.splitlines() if "torch.compile" in line]
    assert len(said) == 1
    assert "no-such-compiler" in said[0]
    assert said[0].endswith("training goes on without it")
    assert "steps 8" in done.stdout
    plain = tmp_path / "plain"
    torch.set_num_threads(1)
    Trainer(strainnet_recipe(), plain).run()
    weights = [
        torch.load(folder / "checkpoint.pt", weights_only=True)["network"]
        for folder in (tmp_path, plain)
    ]
    for name, value in weights[1].items():  # the attempt has left no trace
        assert torch.equal(weights[0][name], value), name


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_network_is_the_network() -> None:
    """One convolution: compiling more takes a minute."""
    script = """
import torch
from models.training.execution import compiled
network = torch.nn.Conv2d(1, 2, 3, padding=1)
x = torch.randn(1, 1, 16, 16)
said = []
model = compiled(network, lambda m: m(x).sum().backward(), said.append)
assert not said, said
assert model is not network
assert network.weight.grad is None
torch.testing.assert_close(model(x), network(x))
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
