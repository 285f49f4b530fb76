"""The trainer: it learns, it resumes to the bit, and it says what is wrong."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cade.errors import CadeError, UsageError
from models.recipe import NetworkRecipe, Recipe
from models.training import CHECKPOINT, LOG, LOG_EVERY, PATTERNS, Progress, Trainer, rate_factor
from tests.models.training_run import STEPS, recipe

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
    factors = [rate_factor(k / 100, 0.1) for k in range(101)]
    assert factors[0] == 0
    assert max(factors) == factors[10] == 1
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert rate_factor(0, 0) == 1


def test_rate_goes_with_the_step(tmp_path: Path) -> None:
    rates: list[float] = []

    class Watched(Trainer):
        def save(self) -> None:
            rates.append(self.optimiser.param_groups[0]["lr"])
            super().save()

    options = recipe().optimiser
    Watched(recipe(), tmp_path).run(checkpoint_s=0)
    expected = [options.rate * rate_factor(k / STEPS, options.warm_up) for k in range(STEPS)]
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
    trainer.run(resume=True)
    assert trainer.step == STEPS


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
    with pytest.raises(CadeError, match="does not belong to recipe 'tiny'"):
        Trainer(other, finished).run(resume=True)


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


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_no_number_ends_the_run_before_it_spoils_the_weights(
    tmp_path: Path, where: str
) -> None:
    trainer = Trainer(recipe(), tmp_path)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    bias = dict(trainer.network.named_parameters())["passes.0.head.bias"]
    if where == "loss":
        bias.data[0] = math.nan
    else:
        bias.register_hook(lambda slope: slope * math.inf)  # type: ignore[no-untyped-call]
    with pytest.raises(CadeError, match=rf"{where} (is )?(nan|inf).*optimiser\.rate"):
        trainer.run()
    for name, parameter in trainer.network.state_dict().items():
        if name != "passes.0.head.bias":
            assert torch.equal(parameter, before[name]), name
    assert not (tmp_path / CHECKPOINT).exists()


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
