"""How a retraining ends: old and new weights side by side, a card, and a verdict."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daemon.settings import Settings
    from models.retraining import Comparison, Material
    from models.training import Trainer

QUICK_PATTERNS, PATTERNS = 1, 4
"""Unseen simulated patterns that the weights are judged by."""
QUICK_PATCHES_PX = (8, 32)


def judge(
    trainer: Trainer,
    material: Material,
    facts: dict[str, Any],
    parent: Path,
    arguments: argparse.Namespace,
    settings: Settings,
) -> int:
    """Compare old and new weights; promote the new ones, or say why not."""
    from cade.errors import CadeError
    from models.promotion import promote
    from models.retraining.comparison import TOLERANCE

    made = _export(trainer, facts, shlex.join(_command(arguments)))
    comparison = _compared(parent, made, trainer, material, arguments)
    _say("EPE px                       old      new")
    _say(_row("held-back references", comparison.old.references_px, comparison.new.references_px))
    _say(_row("simulator's test set", comparison.old.simulated_px, comparison.new.simulated_px))
    _add_comparison(made, comparison)
    if complaints := comparison.complaints():
        raise CadeError(
            f"not promoted: the new weights are worse by more than {TOLERANCE:.0%}: "
            f"{' and '.join(complaints)}; they lie in {made}"
        )
    weights_folder = settings.tracker.weights_folder
    target = promote(made, weights_folder, arguments.name)
    _say(
        f"promoted  {target}\nuse       weights = {arguments.name!r} with tracker."
        f"weights_folder = {str(weights_folder)!r}"
    )
    return 0


def _row(what: str, old: float, new: float) -> str:
    return f"{what}     {old:8.4f} {new:8.4f}   {new / old - 1:+.1%}"


def _compared(
    parent: Path, made: Path, trainer: Trainer, material: Material, arguments: argparse.Namespace
) -> Comparison:
    from models.cade_tracker import CadeTracker
    from models.evaluation import unseen_patterns
    from models.retraining import compare
    from simulator.deformation import PATCHES_PX

    return compare(
        CadeTracker(str(parent), trainer.device),
        CadeTracker(str(made), trainer.device),
        material.pieces.held_back,
        unseen_patterns(QUICK_PATTERNS if arguments.quick else PATTERNS),
        counts=material.counts,
        crop_px=trainer.recipe.data.crop_px,
        patches_px=QUICK_PATCHES_PX if arguments.quick else PATCHES_PX,
    )


def _export(trainer: Trainer, facts: dict[str, Any], command: str) -> Path:
    from models.recipe import recipe_table
    from models.training import training_limits
    from models.weights_file import Card, save_weights

    recipe = trainer.recipe
    path: Path = trainer.folder / f"{recipe.name}.safetensors"
    references = facts["references"]
    own = f"references of one beamline at {references['counts']:.0f} mean counts per pixel"
    card = Card(
        name=recipe.name,
        architecture=recipe.network.architecture,
        options=recipe.network.options,
        sha256="",
        command=command,
        recipe=recipe_table(recipe),
        training={"steps": trainer.step, "seconds": round(trainer.seconds), **facts},
        numbers={},
        limits=[*training_limits(recipe), own],
    )
    save_weights(trainer.result(), path, card)
    return path


def _add_comparison(made: Path, comparison: Comparison) -> None:
    """The numbers of old and new: those of `cade evaluate` come beside them."""
    from models.weights_file import read_card, write_card

    card = read_card(made)
    training = card.training | {"comparison": comparison.table()}
    write_card(made, dataclasses.replace(card, training=training))


def _command(arguments: argparse.Namespace) -> list[str]:
    """The command that does this again."""
    words = ["cade", "retrain", "--references", *map(str, arguments.references)]
    words += ["--name", arguments.name, "--from", arguments.parent]
    for option in ("minutes", "counts", "rate"):
        value = getattr(arguments, option)
        words += [] if value is None else [f"--{option}", f"{value:g}"]
    for option in ("share", "patterns", "seed", "steps"):
        words += [f"--{option}", f"{getattr(arguments, option):g}"]
    for option in ("flat", "dark", "simulated"):
        files = getattr(arguments, option)
        words += [f"--{option}", *map(str, files)] if files else []
    return words


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
