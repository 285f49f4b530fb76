"""Weights of a beamline's own, beside the shipped ones: a folder in which names are taken once."""

from __future__ import annotations

import shutil
from pathlib import Path

from cade.errors import CadeError, UsageError
from models.weights_file import is_plain_name, shipped_weights


def check_new_name(name: str, folder: Path) -> None:
    """Refuse a name that cannot be given to new weights.

    Raises:
        UsageError: it is no plain word, is that of shipped weights, or is taken in the folder.
    """
    if not is_plain_name(name):
        raise UsageError(
            f"name {name!r}: must be a word of letters, digits, '.', '-' and '_' without an ending"
        )
    if name in shipped_weights():
        raise UsageError(f"name {name!r}: is that of shipped weights; choose another one")
    for path in _paths(folder, name):
        if path.exists():
            raise UsageError(
                f"{path}: exists, and weights are never overwritten; choose another name, or "
                f"remove it"
            )


def promote(weights: Path, folder: Path, name: str) -> Path:
    """Copy weights and their card into a folder under a name, all or nothing.

    The card is made first, and only if it is not there yet: so of two who promote at once, one
    fails. Weights without a card or a card without weights are not found by name.

    Raises:
        CadeError: the name was taken meanwhile, or the folder cannot be written.
    """
    target, card = _paths(folder, name)
    partial = target.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with card.open("xb") as file:
            try:
                file.write(weights.with_suffix(".json").read_bytes())
                file.flush()
                shutil.copyfile(weights, partial)
                partial.chmod(0o644)  # the service that reads them may run as another user
                partial.replace(target)
            except BaseException:
                card.unlink(missing_ok=True)
                partial.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise CadeError(
            f"{card}: was made meanwhile, and weights are never overwritten; {weights} are good: "
            f"promote them under another name"
        ) from None
    except OSError as error:
        raise CadeError(
            f"{target}: cannot be written ({error.strerror}); {weights} are good: copy them with "
            f"their card"
        ) from None
    return target


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.safetensors", folder / f"{name}.json"
