"""Speed of training: pairs a second, and the share of the device's matrix rate that they use.

    python benchmarks/training_speed.py [RECIPE.toml[:BATCH] ...] [--device cuda] [--profile]

The rate is that of a large matrix product in the precision of the training, measured in the same
run; the network's operations are counted by PyTorch, forward and backward, what comes before and
after it (pairs, normalisation, optimiser) is not counted but takes its time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from models.recipe import Recipe, read_recipe, with_batch  # noqa: E402
from models.registry import choose_device  # noqa: E402
from models.training import FreshPairs, Trainer, pair_settings  # noqa: E402

MATRIX = {"cuda": 8192, "cpu": 1024}
STEPS = {"cuda": 50, "cpu": 2}
WARM_UP = {"cuda": 10, "cpu": 1}
PROFILE_ROWS = 15


def seconds_of(work: Callable[[], object], count: int, device: torch.device) -> float:
    """Mean seconds of `work`, done `count` times without waiting in between."""
    finish(device)
    began = time.perf_counter()
    for _ in range(count):
        work()
    finish(device)
    return (time.perf_counter() - began) / count


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a square matrix product of random numbers."""
    side = MATRIX[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        torch.mm(a, b)
    return 2 * side**3 / seconds_of(lambda: torch.mm(a, b), 10, device)


def source_of(recipe: Recipe, device: torch.device) -> FreshPairs:
    """The recipe's pairs, of patterns that are only noise: what they show costs no time."""
    size = 2 * recipe.data.pattern_px
    patterns = 1 + 0.2 * torch.randn(8, size, size, device=device)
    settings = pair_settings(recipe)
    each = recipe.optimiser.batch // recipe.optimiser.shards
    return FreshPairs(patterns.half(), recipe.data.crop_px, settings, recipe.seed, each)


def measure(recipe: Recipe, device: torch.device, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything about one recipe."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, Path(folder), device=device)
    source = source_of(recipe, device)
    batch = source.batch(0, trainer.shards)
    with FlopCounterMode(display=False) as counter:
        trainer.loss(trainer.network, batch)[0].backward()  # type: ignore[no-untyped-call]
    model = trainer.ready_model(source, lambda text: print(text, file=sys.stderr))

    def step() -> None:
        trainer.train_step(model, source, 0.5)

    for _ in range(WARM_UP[device.type]):
        step()
    steps = arguments.steps or STEPS[device.type]
    step_s = seconds_of(step, steps, device)
    pairs_s = seconds_of(lambda: source.batch(0, trainer.shards), steps, device)
    rate = matrix_rate(device, torch.bfloat16 if trainer.bfloat16 else torch.float32)
    used = counter.get_total_flops() / step_s
    if arguments.profile:
        show_profile(step, device)
    return {
        "name": recipe.name,
        "batch": recipe.optimiser.batch,
        "precision": "bfloat16" if trainer.bfloat16 else "float32",
        "compiled": model is not trainer.network,
        "pairs_per_s": recipe.optimiser.batch / step_s,
        "step_s": step_s,
        "pairs_s": pairs_s,
        "flop_per_pair": counter.get_total_flops() / recipe.optimiser.batch,
        "flop_per_s": used,
        "matrix_flop_per_s": rate,
        "fraction": used / rate,
        "peak_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
    }


def show_profile(step: Callable[[], None], device: torch.device) -> None:
    """The operations that take most of a step."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as profiler:
        for _ in range(3):
            step()
        finish(device)
    order = "self_device_time_total" if cuda else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=order, row_limit=PROFILE_ROWS))


def recipe_of(text: str) -> Recipe:
    """A recipe file, with the batch after a colon if there is one."""
    path, _, batch = text.partition(":")
    recipe = read_recipe(Path(path))
    return with_batch(recipe, int(batch)) if batch else recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = str(ROOT / "config/training/default.toml")
    parser.add_argument("recipes", nargs="*", default=[default], metavar="RECIPE[:BATCH]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, help="how many are timed")
    parser.add_argument("--profile", action="store_true", help="what a step's time goes into")
    parser.add_argument("--output", type=Path, help="the numbers as JSON")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    rows = [measure(recipe_of(text), device, arguments) for text in arguments.recipes]
    print("recipe            batch  precision   pairs/s  making pairs  TFLOP/s  matrix rate  share")
    for row in rows:
        making = row["pairs_s"] / row["step_s"]
        print(
            f"{row['name']:17s} {row['batch']:5d}  {row['precision']:9s} {row['pairs_per_s']:9.1f} "
            f"{making:13.1%} {row['flop_per_s'] / 1e12:8.2f} "
            f"{row['matrix_flop_per_s'] / 1e12:12.2f} {row['fraction']:6.1%}"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
