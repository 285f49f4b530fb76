"""The simulated reference patterns of a recipe, made once and kept beside the checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cade.errors import CadeError
from models.recipe import Recipe
from simulator.pattern import reference_pattern

PATTERNS = "patterns.npy"


def training_patterns(recipe: Recipe, folder: Path, device: torch.device) -> torch.Tensor:
    """The recipe's reference patterns `(P, 2H, 2W)`, float16, on the host.

    They are computed on `device`; a GPU draws other patterns from a seed than a CPU.

    Raises:
        CadeError: they cannot be written.
    """
    path = folder / PATTERNS
    stored = _stored_patterns(recipe, path, device)
    if stored is not None:
        return stored
    made = [_pattern(recipe, index, device) for index in range(recipe.data.patterns)]
    patterns = torch.stack(made)
    partial = path.with_suffix(".part.npy")
    try:
        np.save(partial, patterns.numpy())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CadeError(f"patterns {path} cannot be written: {error}; free some space") from None
    return patterns


def _pattern(recipe: Recipe, index: int, device: torch.device) -> torch.Tensor:
    size = recipe.data.pattern_px
    return reference_pattern(index, (size, size), recipe.seed, device=device).half().cpu()


def _stored_patterns(recipe: Recipe, path: Path, device: torch.device) -> torch.Tensor | None:
    """What an earlier run left, if it is whole and what this recipe asks for."""
    size = recipe.data.pattern_px
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if stored.shape != (recipe.data.patterns, 2 * size, 2 * size):
        return None
    first = _pattern(recipe, 0, device).numpy().astype(np.float32)
    same = np.allclose(stored[0].astype(np.float32), first, atol=1e-2)
    return torch.from_numpy(stored) if same else None
