"""Stored sets of pairs for training and testing (paper section II-B), as the trainer reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cade.errors import CadeError
from simulator.pairs import PairSample
from simulator.pattern import Speckle, check_speckle
from simulator.stored_rows import open_rows

KIND = "cade pair set"
TRAIN, TEST = "train", "test"


@dataclass(frozen=True, slots=True)
class PairSet:
    """`rows` stored pairs of `shape` `(H, W)` at `counts` = N0; `patches_px` of each."""

    path: Path
    group: str
    rows: int
    shape: tuple[int, int]
    counts: float
    patches_px: tuple[int, ...]

    def read(self, rows: Sequence[int]) -> PairSample:
        """Pairs as `make_pairs` gives them, float32, frames in units of the mean count."""
        with open_rows(self.path, KIND) as file:
            table = file[self.group]
            reference, sample, ux, uy, transmission = (
                torch.from_numpy(np.stack([table[name][row].astype(np.float32) for row in rows]))
                for name in ("reference", "sample", "ux_px", "uy_px", "transmission")
            )
        return PairSample(
            reference=reference / self.counts,
            sample=sample / self.counts,
            displacement_px=torch.stack([ux, uy], dim=1),
            transmission=transmission,
        )


def open_pair_set(path: Path, group: str = TRAIN) -> PairSet:
    """The pairs for training or testing of a stored set.

    Raises:
        CadeError: the file is missing, foreign or incomplete, has no such pairs, or a pattern
            without usable speckle.
    """
    with open_rows(path, KIND) as file:
        if group not in file:
            raise CadeError(f"{path}: holds no {group} pairs; make some with --{group} N")
        table = file[group]
        for row, visibility in enumerate(table["visibility"][()].tolist()):
            check_speckle(Speckle(0.0, visibility), f"{path}, {group} pair {row}")
        rows, *shape = table["reference"].shape
        return PairSet(
            path=path,
            group=group,
            rows=rows,
            shape=(shape[0], shape[1]),
            counts=float(file.attrs["mean_counts"]),
            patches_px=tuple(table["patch_px"][()].tolist()),
        )
