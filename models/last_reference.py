"""What was made of a reference, kept while the same one comes again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

Made = TypeVar("Made")


class LastReference(Generic[Made]):
    """Keeps what was made of the last frames and their weight: a series has one reference."""

    def __init__(self) -> None:
        self._kept: tuple[torch.Tensor, torch.Tensor, Made] | None = None

    def get(
        self,
        frames: torch.Tensor,
        weight: torch.Tensor,
        make: Callable[[torch.Tensor, torch.Tensor], Made],
    ) -> Made:
        """`make(frames, weight)`, or what it gave for the same values."""
        if self._kept is not None:
            last, last_weight, made = self._kept
            if _same(last, frames) and _same(last_weight, weight):
                return made
        made = make(frames, weight)
        self._kept = (frames, weight, made)
        return made


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(one, other))
