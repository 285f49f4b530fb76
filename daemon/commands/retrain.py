"""`cade retrain`: a beamline's own references become training patterns."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from daemon.settings import Settings
    from models.recipe import Recipe
    from models.retraining import Material, RetrainingPlan
    from models.training import Progress, Trainer
    from models.weights_file import Card

HELP = "train a network on with a beamline's own references"
EXAMPLE = (
    "cade retrain --references diffuser_*.h5 --flat flat.h5 --dark dark.h5 --name id19-grit600 \\\n"
    "               --minutes 30"
)
MATERIAL = "references.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "--references",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="reference frames (TIFF, HDF5/NeXus, .npy): in each file repeats of one pattern; "
        "files of the same pattern are put together",
    )
    add("--name", required=True, metavar="NAME", help="of the new weights, one that is free")
    add("--from", dest="parent", default="cade", metavar="NAME|FILE", help="weights to start from")
    add("--output", type=Path, metavar="FOLDER", help="checkpoint and log (runs/NAME)")
    add("--resume", action="store_true", help="continue the run that is in the folder")
    add("--minutes", type=float, metavar="M", help="fit the schedule to this time")
    add(
        "--steps", type=int, default=1000, metavar="N", help="of training, without --minutes (1000)"
    )
    add("--flat", type=Path, nargs="+", default=[], metavar="F", help="flat frames, averaged")
    add("--dark", type=Path, nargs="+", default=[], metavar="F", help="dark frames, averaged")
    add("--counts", type=float, metavar="N0", help="noise of a frame as mean counts; else measured")
    add("--share", type=float, default=0.5, metavar="S", help="of pairs from references (0.5)")
    add("--rate", type=float, metavar="R", help="learning rate; a tenth of the parent's")
    add("--patterns", type=int, default=64, metavar="N", help="simulated patterns to mix in (64)")
    add(
        "--simulated",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.h5",
        help="patterns of `cade simulate references` instead",
    )
    add("--seed", type=int, default=1, metavar="S", help="of all randomness (1)")
    add("--quick", action="store_true", help="judge by fewer simulated patterns")
    add("--config", type=Path, metavar="F", help="configuration: weights folder, device, checks")
    add("--weights-folder", type=Path, metavar="DIR", help="instead of the configured one")
    add("--device", metavar="NAME", help="auto, cpu, cuda …")
    add("--threads", type=int, metavar="N", help="CPU threads; all cores if not given")


def run(arguments: argparse.Namespace) -> int:
    """Measure the references, train, compare, and promote what is not worse."""
    from daemon.commands.retrain_verdict import judge
    from daemon.configuration import load_settings
    from daemon.warm_up import choose_threads
    from models.retraining import retraining_recipe
    from models.weights_file import find_weights, read_card

    options = {name: getattr(arguments, name) for name in ("device", "threads", "weights_folder")}
    settings = load_settings(arguments.config, options={"tracker": options})
    plan = _plan(arguments)
    folder: Path = arguments.output or Path("runs") / plan.name
    parent = find_weights(arguments.parent, settings.tracker.weights_folder)
    card = read_card(parent)
    _check_places(arguments, folder, settings.tracker.weights_folder)
    choose_threads(settings.tracker.threads)
    material, facts = _material(arguments, settings)
    recipe = retraining_recipe(plan, card, material.pieces.crop_px(_crop_px(card)))
    facts |= {"parent": {"name": card.name, "sha256": card.sha256}, "share": plan.share}
    _remember(folder / MATERIAL, facts, resume=arguments.resume)
    trainer = _trainer(recipe, plan, material, folder, parent, settings)
    _train(trainer, arguments)
    return judge(trainer, material, facts, parent, arguments, settings)


def _plan(arguments: argparse.Namespace) -> RetrainingPlan:
    from cade.errors import UsageError
    from models.retraining import RetrainingPlan

    for option in ("minutes", "counts"):
        value = getattr(arguments, option)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"--{option} must be positive, not {value:g}")
    plan = RetrainingPlan(
        name=arguments.name,
        share=arguments.share,
        steps=arguments.steps,
        rate=arguments.rate,
        patterns=arguments.patterns,
        pattern_sets=tuple(str(path) for path in arguments.simulated),
        seed=arguments.seed,
    )
    plan.check()
    return plan


def _check_places(arguments: argparse.Namespace, folder: Path, weights_folder: Path) -> None:
    """Everything about names and folders that can be wrong, before the first file is read."""
    from cade.errors import UsageError
    from daemon.recording.output_folder import check_folder
    from models.promotion import check_new_name
    from models.training import CHECKPOINT

    check_new_name(arguments.name, weights_folder)
    begun = [name for name in (CHECKPOINT, MATERIAL) if (folder / name).exists()]
    if begun and not arguments.resume:
        raise UsageError(
            f"{folder} holds a training run already: continue it with --resume, or choose another "
            f"folder with --output"
        )
    check_folder(weights_folder, "tracker.weights_folder or --weights-folder")
    check_folder(folder, "--output")


def _material(arguments: argparse.Namespace, settings: Settings) -> tuple[Material, dict[str, Any]]:
    """The references, measured and cut, and what the card says about them."""
    from daemon.commands.retrain_input import frame_files, gain_of, hashes, read_correction
    from daemon.process_input import Files
    from models.retraining import gather_material

    paths = arguments.references
    files = Files(tuple(paths), (), tuple(arguments.flat), tuple(arguments.dark))
    correction = read_correction(files, settings.checks)
    material = gather_material(
        frame_files(paths, correction, settings.checks),
        gain=gain_of(correction),
        counts=arguments.counts,
        report=_print,
    )
    for remark in material.remarks:
        sys.stderr.write(f"cade: note: {remark}\n")
    pieces = material.pieces
    _print(
        f"{len(pieces.training)} pieces of {pieces.shape_px[0]} × {pieces.shape_px[1]} px to train "
        f"on, {len(pieces.held_back)} held back; N0 = {material.counts:.0f}"
    )
    found = hashes([*paths, *arguments.flat, *arguments.dark])
    whole = hashlib.sha256("".join(digest for _, digest in found).encode()).hexdigest()
    references = {
        "sha256": whole,
        "files": [{"name": p.name, "sha256": digest} for p, digest in found],
        "patterns": list(material.patterns),
        "counts": round(material.counts, 1),
        "pieces": len(pieces.training),
        "held_back": len(pieces.held_back),
    }
    return material, {"references": references}


def _crop_px(card: Card) -> int:
    """What the parent was trained with, as far as its card says so."""
    from models.recipe import DataRecipe

    crop = card.recipe.get("data", {}).get("crop_px", DataRecipe().crop_px)
    return crop if isinstance(crop, int) else DataRecipe().crop_px


def _remember(path: Path, facts: dict[str, Any], *, resume: bool) -> None:
    """Note what this run is made of; a run that is continued must be made of the same.

    Raises:
        UsageError: it is not.
    """
    from cade.errors import CadeError, UsageError

    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    if resume and path.exists():
        if path.read_text() != text:
            raise UsageError(
                f"{path.parent} was begun with other references, weights or options ({path.name} "
                f"says which): give the same ones, or start in another folder with --output"
            )
        return
    try:
        path.write_text(text)
    except OSError as error:
        raise CadeError(f"{path}: cannot be written ({error.strerror})") from None


def _trainer(
    recipe: Recipe,
    plan: RetrainingPlan,
    material: Material,
    folder: Path,
    parent: Path,
    settings: Settings,
) -> Trainer:
    from models.registry import choose_device
    from models.retraining.mixture import mixed_pairs
    from models.training import Trainer

    device = choose_device(settings.tracker.device)
    simulated = None if plan.share >= 1 else _simulated(recipe, folder, device)
    source = mixed_pairs(
        recipe,
        material.pieces.training.to(device),
        simulated,
        counts=material.counts,
        share=plan.share,
    )
    return Trainer(recipe, folder, device=device, source=source, initial=str(parent))


def _simulated(recipe: Recipe, folder: Path, device: torch.device) -> torch.Tensor:
    from models.training import training_patterns
    from simulator.pattern_set import read_patterns

    if recipe.data.pattern_sets:
        return read_patterns(*(Path(name) for name in recipe.data.pattern_sets)).to(device)
    _print(f"simulating {recipe.data.patterns} patterns to mix in")
    return training_patterns(recipe, folder, device).to(device)


def _train(trainer: Trainer, arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    with tqdm(unit="step", desc=trainer.recipe.name, disable=not sys.stderr.isatty()) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.steps
            bar.set_postfix_str(f"EPE {progress.epe_px:.4f} px")
            bar.update(progress.step - bar.n)

        trainer.run(
            minutes=arguments.minutes,
            resume=arguments.resume,
            report=show,
            warn=lambda text: tqdm.write(f"cade: note: {text}", file=sys.stderr),
        )


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
