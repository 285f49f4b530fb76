"""`cade train`: train a network from a recipe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.training import Progress, Trainer

HELP = "train a network"
EXAMPLE = "cade train config/training/default.toml --output runs/default --minutes 120"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("recipe", type=Path, nargs="?", metavar="RECIPE", help="TOML; the default weights' recipe")
    add("--output", type=Path, required=True, metavar="FOLDER", help="checkpoint, log and weights")
    add("--resume", action="store_true", help="continue the run that is in the folder")
    add("--minutes", type=float, metavar="M", help="fit the schedule to this time")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda …")
    add("--threads", type=int, metavar="N", help="CPU threads; all cores if not given")
    add(
        "--export-only",
        action="store_true",
        help="write the weights of the checkpoint, no training",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, then write the averaged weights and their card."""
    import torch

    from cade.errors import UsageError
    from models.recipe import default_recipe, read_recipe
    from models.registry import choose_device
    from models.training import Trainer

    if arguments.minutes is not None and not arguments.minutes > 0:
        raise UsageError(f"--minutes must be positive, not {arguments.minutes:g}")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    recipe = read_recipe(arguments.recipe) if arguments.recipe else default_recipe()
    trainer = Trainer(recipe, arguments.output, device=str(choose_device(arguments.device)))
    if arguments.export_only:
        trainer.restore()
    else:
        _train(trainer, arguments)
    path = _export(trainer, _command(arguments))
    sys.stdout.write(f"weights  {path}\nmeasure  cade evaluate --weights {path}\n")
    return 0


def _train(trainer: Trainer, arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    with tqdm(unit="step", desc=trainer.recipe.name, disable=not sys.stderr.isatty()) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.steps
            bar.set_postfix_str(f"EPE {progress.epe_px:.4f} px")
            bar.update(progress.step - bar.n)

        trainer.run(minutes=arguments.minutes, resume=arguments.resume, report=show)


def _command(arguments: argparse.Namespace) -> str:
    recipe = arguments.recipe or "config/training/default.toml"
    minutes = f" --minutes {arguments.minutes:g}" if arguments.minutes else ""
    return f"cade train {recipe} --output {arguments.output}{minutes}"


def _export(trainer: Trainer, command: str) -> Path:
    """Write weights and a card; its measured numbers are added by `cade evaluate --update-card`."""
    from models.recipe import recipe_table
    from models.training import training_limits
    from models.weights_file import Card, save_weights

    recipe = trainer.recipe
    path: Path = trainer.folder / f"{recipe.name}.safetensors"
    card = Card(
        name=recipe.name,
        architecture=recipe.network.architecture,
        options=recipe.network.options,
        sha256="",
        command=command,
        recipe=recipe_table(recipe),
        training={"steps": trainer.step, "seconds": round(trainer.seconds)},
        numbers={},
        limits=training_limits(recipe),
    )
    save_weights(trainer.result(), path, card)
    return path
