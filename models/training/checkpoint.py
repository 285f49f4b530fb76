"""Checkpoints: one file that holds a run, written in one piece."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cade.errors import CadeError
from models.recipe import Recipe, recipe_table


def write_checkpoint(path: Path, recipe: Recipe, state: Mapping[str, Any]) -> None:
    """Write the state of a run: whatever happens, `path` holds the old or the new one.

    Raises:
        CadeError: it cannot be written.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as file:
            torch.save({"recipe": recipe_table(recipe), **state}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # PyTorch's writer raises the latter
        partial.unlink(missing_ok=True)
        first = str(error).splitlines()[0]
        raise CadeError(
            f"checkpoint {path} cannot be written: {first}; free some space and continue with "
            f"--resume"
        ) from None


def _sync_folder(folder: Path) -> None:
    """The new name, too, must outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(path: Path, recipe: Recipe) -> dict[str, Any]:
    """The state that `write_checkpoint` was given, for the same recipe.

    Raises:
        CadeError: it cannot be read, or belongs to another recipe; what differs is named.
    """
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CadeError(
            f"checkpoint {path} cannot be read, start again in another folder: {first}"
        ) from None
    if not isinstance(state, dict) or not isinstance(state.get("recipe"), dict):
        raise foreign(path, recipe, "it is no checkpoint of a training run")
    for key, (there, here) in _differences(state["recipe"], recipe_table(recipe)).items():
        raise foreign(path, recipe, f"{key} is {there!r} there and {here!r} here")
    return state


def foreign(path: Path, recipe: Recipe, why: str) -> CadeError:
    """The error of a checkpoint that another run has left."""
    return CadeError(
        f"checkpoint {path} does not belong to recipe {recipe.name!r}: {why}; give the recipe and "
        f"options it was made with, or train in another folder"
    )


def _differences(there: Any, here: Any, key: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys at which two tables differ, with both values (None where there is none)."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return {} if there == here else {key: (there, here)}
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted({*there, *here}):
        inner = f"{key}.{name}" if key else str(name)
        found |= _differences(there.get(name), here.get(name), inner)
    return found
