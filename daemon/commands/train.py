"""`cade train`: train a network from a recipe."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.recipe import Recipe
    from models.training import Progress, Trainer

HELP = "train a network"
EXAMPLE = """cade train config/training/default.toml --output runs/default --minutes 120
  torchrun --nproc-per-node 4 -m daemon train config/training/paper.toml --output runs/paper"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("recipe", type=Path, nargs="?", metavar="RECIPE", help="TOML; the default weights' recipe")
    add("--output", type=Path, required=True, metavar="FOLDER", help="checkpoint, log and weights")
    add("--resume", action="store_true", help="continue the run that is in the folder")
    add("--minutes", type=float, metavar="M", help="fit the schedule to this time")
    add("--pause-after", type=float, metavar="M", help="stop after so long, to --resume later")
    add("--batch", type=int, metavar="N", help="pairs a step; the rate goes with the root of it")
    add("--data", type=Path, metavar="FILE", help="train on a stored set of pairs")
    add("--patterns", type=Path, nargs="+", metavar="FILE", help="fresh pairs of stored patterns")
    add("--from", dest="initial", metavar="NAME|FILE", help="begin with these weights")
    add("--learns", nargs="+", metavar="PART", help="only these parts learn, such as passes.2")
    add("--name", metavar="NAME", help="of the weights, if not the recipe's")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda …")
    add("--threads", type=int, metavar="N", help="CPU threads; all cores if not given")
    add("--half", action="store_true", help="write the weights in half precision")
    add(
        "--export-only",
        action="store_true",
        help="write the weights of the checkpoint, no training",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, then write the averaged weights and their card."""
    import torch

    from cade.errors import UsageError
    from models.registry import choose_device
    from models.training import Trainer
    from models.training.processes import joined, own_device

    for name in ("minutes", "pause_after", "threads", "batch"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} must be positive, not {value:g}")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    recipe = _recipe(arguments)
    with joined() as processes:
        trainer = Trainer(
            recipe,
            arguments.output,
            device=own_device(choose_device(arguments.device), processes),
            initial=arguments.initial,
            processes=processes,
        )
        finished = True
        if arguments.export_only:
            trainer.restore()
        else:
            finished = _train(trainer, arguments)
        if processes.leads:
            _finish(trainer, arguments, finished)
    return 0


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """The recipe of the file with what the options change in it."""
    import dataclasses

    from cade.errors import UsageError
    from models.recipe import checked_name, default_recipe, read_recipe, with_batch
    from models.training import with_stored_pairs
    from models.training.beginning import network_of

    recipe = read_recipe(arguments.recipe) if arguments.recipe else default_recipe()
    if arguments.data and arguments.patterns:
        raise UsageError("--data holds finished pairs, --patterns makes new ones: give one of them")
    if arguments.data:
        recipe = with_stored_pairs(recipe, arguments.data)
    if arguments.patterns:
        names = tuple(str(path) for path in arguments.patterns)
        data = dataclasses.replace(recipe.data, pattern_sets=names)
        recipe = dataclasses.replace(recipe, data=data)
    if arguments.batch:
        recipe = with_batch(recipe, arguments.batch)
    if arguments.learns:
        optimiser = dataclasses.replace(recipe.optimiser, learns=tuple(arguments.learns))
        recipe = dataclasses.replace(recipe, optimiser=optimiser)
    if recipe.optimiser.learns and not arguments.initial:
        raise UsageError(
            f"recipe {recipe.name!r} trains {', '.join(recipe.optimiser.learns)} alone: say with "
            f"--from which weights the rest has"
        )
    if arguments.name:
        recipe = dataclasses.replace(recipe, name=checked_name(arguments.name))
    if arguments.initial and not recipe.network.options:
        recipe = dataclasses.replace(recipe, network=network_of(arguments.initial))
    return recipe


def _train(trainer: Trainer, arguments: argparse.Namespace) -> bool:
    """Whether the schedule came to its end."""
    pause = arguments.pause_after
    with _Display(trainer) as display:
        return trainer.run(
            minutes=arguments.minutes,
            resume=arguments.resume,
            report=display.show,
            warn=display.warn,
            pause_s=60 * pause if pause else None,
        )


class _Display(contextlib.ExitStack):
    """A progress bar on a terminal, nothing but warnings elsewhere (where tqdm may be missing)."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self._bar: Any = None
        if sys.stderr.isatty() and trainer.processes.leads:
            from tqdm import tqdm

            self._bar = self.enter_context(tqdm(unit="step", desc=trainer.recipe.name))

    def show(self, progress: Progress) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.total = progress.steps
            self._bar.set_postfix_str(
                f"EPE {progress.epe_px:.4f} px, {progress.samples_per_s:.1f} pairs/s"
            )
            self._bar.update(progress.step - self._bar.n)

    def warn(self, text: str) -> None:
        """Say it above the bar."""
        if self._bar is not None:
            self._bar.write(f"cade: {text}", file=sys.stderr)
        else:
            sys.stderr.write(f"cade: {text}\n")


def _finish(trainer: Trainer, arguments: argparse.Namespace, finished: bool) -> None:
    path = _export(trainer, arguments)
    if not finished:
        sys.stdout.write(
            f"paused   at step {trainer.step}; the same command with --resume goes on from there\n"
        )
    sys.stdout.write(f"weights  {path}\nmeasure  cade evaluate --weights {path}\n")


def _command(arguments: argparse.Namespace) -> str:
    words = ["cade train", str(arguments.recipe or "config/training/default.toml")]
    words += ["--output", str(arguments.output)]
    options = {
        "minutes": arguments.minutes,
        "batch": arguments.batch,
        "data": arguments.data,
        "from": arguments.initial,
        "name": arguments.name,
    }
    for name, value in options.items():
        if value:
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    if arguments.learns:
        words += ["--learns", *arguments.learns]
    if arguments.patterns:
        words += ["--patterns", *map(str, arguments.patterns)]
    return " ".join(words)


def _export(trainer: Trainer, arguments: argparse.Namespace) -> Path:
    """Write weights and a card; its measured numbers are added by `cade evaluate --update-card`."""
    import copy

    from models.recipe import recipe_table
    from models.training import training_limits
    from models.training.beginning import CLAIM_ALONE
    from models.weights_file import Card, find_weights, read_card, save_weights

    recipe = trainer.recipe
    path: Path = trainer.folder / f"{recipe.name}.safetensors"
    table, limits = recipe_table(recipe), training_limits(recipe)
    training: dict[str, Any] = {"steps": trainer.step, "seconds": round(trainer.seconds)}
    training |= {"device": trainer.device.type, "processes": trainer.processes.count}
    if arguments.initial:
        parent = read_card(find_weights(arguments.initial))
        training["from"] = {
            "weights": parent.name,
            "sha256": parent.sha256,
            "command": parent.command,
            "training": parent.training,
        }
        if recipe.optimiser.learns == CLAIM_ALONE:  # the displacement is still the parent's
            training["claim"] = table
            table, limits = parent.recipe, parent.limits
    card = Card(
        name=recipe.name,
        architecture=recipe.network.architecture,
        options=recipe.network.options,
        sha256="",
        command=_command(arguments),
        recipe=table,
        training=training,
        numbers={},
        limits=limits,
    )
    result = trainer.result()
    save_weights(copy.deepcopy(result).half() if arguments.half else result, path, card)
    return path
