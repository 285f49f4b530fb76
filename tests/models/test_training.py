"""The trainer: it learns, it resumes to the bit, and it says what is wrong."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from cade.errors import CadeError, UsageError
from models.recipe import NetworkRecipe, OptimiserRecipe, Recipe
from models.training import CHECKPOINT, LOG, LOG_EVERY, PATTERNS, Progress, Trainer
from models.training.execution import Model
from models.training.schedule import rate_factor
from simulator.pairs import PairSample
from tests.models.training_run import STEPS, recipe, strainnet_recipe

ROOT = Path(__file__).parents[2]
RUN = [sys.executable, "-m", "tests.models.training_run"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums over several threads may differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an undisturbed run."""
    folder = tmp_path_factory.mktemp("finished")
    subprocess.run([*RUN, str(folder)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder


def state(folder: Path, recipe_: Recipe | None = None) -> dict[str, torch.Tensor]:
    trainer = Trainer(recipe_ or recipe(), folder)
    trainer.restore()
    assert trainer.step == STEPS
    return dict(trainer.result().state_dict())


def test_killed_and_resumed_is_the_undisturbed_run_to_the_bit(
    finished: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [*RUN, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "3\n":
                process.kill()
    assert process.returncode == -9
    half = Trainer(recipe(), tmp_path)
    half.restore()
    assert 3 <= half.step < STEPS
    subprocess.run(
        [*RUN, str(tmp_path), "--resume"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    resumed, undisturbed = state(tmp_path), state(finished)
    assert resumed.keys() == undisturbed.keys()
    for name, value in undisturbed.items():
        assert torch.equal(resumed[name], value), name
    fresh = Trainer(recipe(), tmp_path / "fresh").result().state_dict()
    assert not torch.equal(fresh["passes.1.head.bias"], undisturbed["passes.1.head.bias"])


def test_training_does_not_hang_on_the_global_seed(finished: Path, tmp_path: Path) -> None:
    """Someone else's draws between steps change nothing: all randomness is the trainer's own."""

    class Disturbed(Trainer):
        def save(self) -> None:
            torch.rand(7)
            torch.manual_seed(self.step)
            super().save()

    Disturbed(recipe(), tmp_path).run(checkpoint_s=0)
    for name, value in state(finished).items():
        assert torch.equal(state(tmp_path)[name], value), name


def test_it_learns(tmp_path: Path) -> None:
    """On a toy problem of one pattern, the error falls well below that of saying nothing."""
    seen: list[Progress] = []
    base = recipe(steps=6 * LOG_EVERY, rate=8e-3)
    data = dataclasses.replace(
        base.data, patterns=1, counts=(1e4, 1e4), visibility=(0.3, 0.3), deformation="wide"
    )
    Trainer(dataclasses.replace(base, data=data), tmp_path).run(report=seen.append)
    assert [p.step for p in seen] == [LOG_EVERY * k for k in range(1, 7)]
    assert seen[-1].epe_px < 0.5 * seen[0].epe_px
    assert seen[-1].loss < 0.7 * seen[0].loss
    assert len((tmp_path / LOG).read_text().splitlines()) == 1 + len(seen)


def test_rate_rises_and_falls() -> None:
    options = OptimiserRecipe(warm_up=0.1)
    factors = [rate_factor(k / 100, options) for k in range(101)]
    assert factors[0] == 0
    assert max(factors) == factors[10] == 1
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert rate_factor(0, OptimiserRecipe(warm_up=0)) == 1


def test_rate_halves_at_milestones() -> None:
    options = OptimiserRecipe(schedule="milestones", epochs=10, milestones=(2, 5), warm_up=0)
    factors = [rate_factor(epoch / 100, options) for epoch in range(100)]
    assert factors == [1] * 20 + [0.5] * 30 + [0.25] * 50


def test_rate_goes_with_the_step(tmp_path: Path) -> None:
    rates: list[float] = []

    class Watched(Trainer):
        def save(self) -> None:
            rates.append(self.optimiser.param_groups[0]["lr"])
            super().save()

    options = recipe().optimiser
    Watched(recipe(), tmp_path).run(checkpoint_s=0)
    expected = [options.rate * rate_factor(k / STEPS, options) for k in range(STEPS)]
    assert rates[:STEPS] == expected


def test_minutes_replace_the_steps(tmp_path: Path) -> None:
    trainer = Trainer(recipe(steps=1_000_000), tmp_path)
    trainer.run(minutes=0.01)
    assert 0 < trainer.step < 1_000_000


def test_a_folder_with_a_run_needs_resume(finished: Path) -> None:
    before = (finished / CHECKPOINT).read_bytes()
    with pytest.raises(UsageError, match="--resume"):
        Trainer(recipe(), finished).run()
    assert (finished / CHECKPOINT).read_bytes() == before


def test_a_finished_run_resumes_to_nothing_more(finished: Path) -> None:
    trainer = Trainer(recipe(), finished)
    assert trainer.run(resume=True)
    assert trainer.step == STEPS


def test_paused_and_resumed_has_the_same_curve_and_weights(tmp_path: Path) -> None:
    """The pauses fall into the middle of what a line of the log is about."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = recipe(steps=2 * LOG_EVERY)
    assert Trainer(options, whole).run()
    for _ in range(3):
        assert not Trainer(options, parts).run(resume=True, pause_s=0)
    assert Trainer(options, parts).run(resume=True)
    curves = []
    for folder in (whole, parts):
        rows = [line.split(",") for line in (folder / LOG).read_text().splitlines()]
        curves.append([row[:4] + row[6:] for row in rows])  # without the times
    assert curves[0] == curves[1]
    assert len(curves[0]) == 3
    results = []
    for folder in (whole, parts):
        trainer = Trainer(options, folder)
        trainer.restore()
        results.append(trainer.result().state_dict())
    for name, value in results[0].items():
        assert torch.equal(results[1][name], value), name


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_every_optimiser_can_be_continued(tmp_path: Path, kind: Literal["adam", "muon"]) -> None:
    base = strainnet_recipe(4)
    options = dataclasses.replace(base, optimiser=dataclasses.replace(base.optimiser, kind=kind))
    whole, parts = Trainer(options, tmp_path / "whole"), Trainer(options, tmp_path / "parts")
    start = {name: value.clone() for name, value in whole.result().state_dict().items()}
    assert whole.run()
    assert not parts.run(pause_s=0)
    again = Trainer(options, tmp_path / "parts")
    assert again.run(resume=True)
    for name, value in whole.result().state_dict().items():
        assert torch.equal(again.result().state_dict()[name], value), name
        assert not torch.equal(start[name], value) or not value.any(), name


def test_nothing_to_restore(tmp_path: Path) -> None:
    with pytest.raises(CadeError, match=CHECKPOINT):
        Trainer(recipe(), tmp_path).restore()


@pytest.mark.parametrize(
    "network",
    [
        NetworkRecipe("cade", {"channels": ((6, 6), (4, 6)), "blocks": (1, 1)}),
        NetworkRecipe("strainnet-f", {"width": 0.02}),
    ],
)
def test_checkpoint_of_another_network(finished: Path, network: NetworkRecipe) -> None:
    other = dataclasses.replace(recipe(), network=network)
    with pytest.raises(CadeError, match=r"does not belong to recipe 'tiny': network\..* there and"):
        Trainer(other, finished).run(resume=True)


def test_checkpoint_of_another_recipe(finished: Path) -> None:
    """Same network, but the rest of the run would be another one: what differs is named."""
    before = (finished / CHECKPOINT).read_bytes()
    with pytest.raises(CadeError, match=r"optimiser\.rate is 0\.003 there and 0\.004 here"):
        Trainer(recipe(rate=4e-3), finished).run(resume=True)
    assert (finished / CHECKPOINT).read_bytes() == before


def test_checkpoint_of_a_recipe_with_other_keys(finished: Path, tmp_path: Path) -> None:
    """As from a version of the program that knew less."""
    state = torch.load(finished / CHECKPOINT, weights_only=True)
    del state["recipe"]["optimiser"]["clip"]
    torch.save(state, tmp_path / CHECKPOINT)
    with pytest.raises(CadeError, match=r"optimiser\.clip is None there and 1\.0 here"):
        Trainer(recipe(), tmp_path).run(resume=True)
    state["recipe"]["optimiser"]["clip"] = 1.0
    del state["tally"]
    torch.save(state, tmp_path / CHECKPOINT)
    with pytest.raises(CadeError, match=r"does not belong to recipe 'tiny': 'tally'"):
        Trainer(recipe(), tmp_path).run(resume=True)


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "pickle"])
def test_damaged_checkpoint(finished: Path, tmp_path: Path, damage: str) -> None:
    whole = (finished / CHECKPOINT).read_bytes()
    content = {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "text": b"not a checkpoint\n",
        "pickle": b"cos\nsystem\n(S'false'\ntR.",
    }[damage]
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(CadeError, match=CHECKPOINT) as caught:
        Trainer(recipe(), tmp_path).run(resume=True)
    assert "\n" not in str(caught.value)


def test_checkpoint_that_holds_something_else(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / CHECKPOINT)
    with pytest.raises(CadeError, match="does not belong"):
        Trainer(recipe(), tmp_path).run(resume=True)


def with_bad_steps(trainer: Trainer, bad: Container[int], where: str = "loss") -> None:
    """The loss or the gradient of these steps becomes infinite."""
    bias = dict(trainer.network.named_parameters())["passes.0.head.bias"]
    if where == "gradient":
        bias.register_hook(  # type: ignore[no-untyped-call]
            lambda slope: slope * math.inf if trainer.step in bad else slope
        )
        return
    own = trainer.loss

    def loss(model: Model, batch: PairSample) -> tuple[torch.Tensor, torch.Tensor]:
        value, epe_px = own(model, batch)
        return (value + math.inf if trainer.step in bad else value), epe_px

    trainer.loss = loss  # type: ignore[method-assign]


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_no_number_ends_the_run_before_it_spoils_the_weights(
    tmp_path: Path, where: str
) -> None:
    trainer = Trainer(recipe(steps=50), tmp_path)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    with_bad_steps(trainer, range(1000), where)
    warnings: list[str] = []
    with pytest.raises(
        CadeError, match=r"training tiny: before step 20 .*20 steps.*optimiser\.rate"
    ):
        trainer.run(warn=warnings.append)
    for name, parameter in trainer.network.state_dict().items():
        assert torch.equal(parameter, before[name]), name
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_few_steps_without_a_number_are_skipped_and_said(tmp_path: Path, where: str) -> None:
    trainer = Trainer(recipe(steps=40), tmp_path)
    with_bad_steps(trainer, range(3, 12), where)
    seen: list[Progress] = []
    warnings: list[str] = []
    assert trainer.run(report=seen.append, warn=warnings.append)
    assert [p.skipped for p in seen] == [9, 0]
    assert all(math.isfinite(p.loss) and math.isfinite(p.epe_px) for p in seen)
    [said] = [text for text in warnings if "skipped" in text]
    assert re.search(r"step 20: 9 of the last 20 .*optimiser\.rate is 0\.003", said)
    for parameter in trainer.result().parameters():
        assert bool(torch.isfinite(parameter).all())
    trainer.optimiser.zero_grad()
    steps = {int(state["step"]) for state in trainer.optimiser.state.values()}
    assert steps == {40 - 9}


def test_bad_steps_at_the_end_are_said(tmp_path: Path) -> None:
    trainer = Trainer(recipe(steps=8), tmp_path)
    with_bad_steps(trainer, range(6, 8))
    warnings: list[str] = []
    trainer.run(warn=warnings.append)
    assert any("2 of the last" in text for text in warnings)


def test_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """The device behind the file that is written is really full."""
    trainer = Trainer(recipe(), tmp_path)
    trainer.save()
    before = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / f"{CHECKPOINT}.part").symlink_to("/dev/full")
    trainer.step = 7
    with pytest.raises(CadeError, match=r"cannot be written.*--resume") as caught:
        trainer.save()
    assert "\n" not in str(caught.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    trainer.save()
    trainer.step = 0
    trainer.restore()
    assert trainer.step == 7


def test_full_disk_while_patterns_are_written(tmp_path: Path) -> None:
    (tmp_path / PATTERNS).with_suffix(".part.npy").symlink_to("/dev/full")
    with pytest.raises(CadeError, match=PATTERNS):
        Trainer(recipe(), tmp_path).run()


@pytest.mark.parametrize("what", ["other seed", "truncated", "other shape"])
def test_patterns_of_something_else_are_made_again(
    finished: Path, tmp_path: Path, what: str
) -> None:
    right = np.load(finished / PATTERNS)
    path = tmp_path / PATTERNS
    if what == "truncated":
        path.write_bytes((finished / PATTERNS).read_bytes()[:1000])
    elif what == "other shape":
        np.save(path, right[:1])
    else:
        np.save(path, right[[1, 2, 0]])
    Trainer(recipe(steps=1), tmp_path).run()
    assert np.array_equal(np.load(path), right)


def test_log_has_no_step_twice(finished: Path, tmp_path: Path) -> None:
    trainer = Trainer(recipe(), tmp_path)
    trainer.step = 25
    trainer.save()
    (tmp_path / LOG).write_text("step,loss\n20,0.5\n40,0.4\n")
    Trainer(recipe(), tmp_path).run(resume=True)
    assert (tmp_path / LOG).read_text() == "step,loss\n20,0.5\n"
