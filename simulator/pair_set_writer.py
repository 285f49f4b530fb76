"""Makes stored sets of pairs (paper section II-B): `cade simulate dataset`.

Pairs are stored as they are: bitshuffle and LZ4 would make them 1.4 times smaller, no more, since
noise does not compress, and would cost what `simulator.row_file` is for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cade.errors import UsageError
from cade.version import __version__
from simulator.deformation import PAPER, PATCHES_PX
from simulator.detector import HALF_PIXELS
from simulator.pair_set import KIND, TEST, TRAIN
from simulator.pairs import PairSettings, make_pairs
from simulator.parallel import in_order
from simulator.pattern_set import read_pattern, read_patterns, read_table
from simulator.row_file import RowFile
from simulator.row_layout import Column, Table
from simulator.seeds import seeded_generator

PAPER_TRAIN, PAPER_TEST = 21_840, 3_640
"""60 and 10 deformations of each of 364 patterns."""
_FLOOR = 0.5
"""Attenuation maps reach from here to one."""
_HEADROOM = 4.0
"""Of 16-bit counts above the brightest place of a pattern: for focusing and noise."""


@dataclass(frozen=True, slots=True)
class PairSetRequest:
    """Which set: displacement and attenuation are the paper's, and so are the defaults.

    Pair i has pattern i mod n of the n `references`, and its displacement and attenuation have
    nodes every 4 to 128 px in turn. `counts` is N0, which the paper does not name; `focusing` the
    share of pairs with the factor det(1 − ∇u), which the paper does not have.
    """

    references: Path
    train: int = PAPER_TRAIN
    test: int = PAPER_TEST
    shape: tuple[int, int] | None = None
    counts: float = 1000.0
    focusing: float = 0.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class PairPlan:
    """A request with what its references add to it: their visibilities and what they are."""

    request: PairSetRequest
    shape: tuple[int, int]
    visibility: tuple[float, ...]
    sha256: str
    dtype: str

    def settings(self) -> dict[str, Any]:
        """All that the file depends on."""
        request = self.request
        values = {
            "references": self.sha256,
            "patterns": len(self.visibility),
            "train": request.train,
            "test": request.test,
            "shape": self.shape,
            "mean_counts": request.counts,
            "focusing": request.focusing,
            "transmission": (_FLOOR, 1.0),
            "patches_px": PATCHES_PX,
            "seed": request.seed,
            "version": __version__,
        }
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @property
    def total_bytes(self) -> int:
        """What the file takes on the disk."""
        return sum(table.total_bytes for table in self.tables())

    def tables(self) -> list[Table]:
        """The layout: `/train` and `/test`, counts in 16 bits where the brightest place allows it.

        Float16 rounds displacements below 1 px by at most 0.00024 px.
        """
        columns = (
            Column("reference", self.dtype, "counts", self.shape),
            Column("sample", self.dtype, "counts", self.shape),
            Column("ux_px", "f2", "px", self.shape, "displacement to the right"),
            Column("uy_px", "f2", "px", self.shape, "displacement downwards"),
            Column("transmission", "f2", "", self.shape, "absorption times focusing"),
            Column("pattern", "u4", "", meaning="index in the references"),
            Column("patch_px", "u2", "px", meaning="node distance"),
            Column("visibility", "f4", "", meaning="of the pattern"),
        )
        return [Table(TRAIN, self.request.train, columns), Table(TEST, self.request.test, columns)]


def plan_pair_set(request: PairSetRequest) -> PairPlan:
    """Look at the references, and settle what the set will be.

    Raises:
        CadeError: they are missing, foreign, incomplete, without usable speckle, or too small.
    """
    patterns = read_patterns(request.references)
    shape = request.shape or tuple(n // HALF_PIXELS for n in patterns.shape[1:])
    largest = min(patterns.shape[1:]) // HALF_PIXELS
    if max(shape) > largest:
        raise UsageError(
            f"{request.references}: patterns of {largest} px hold no pairs of "
            f"{shape[0]} × {shape[1]} px; use a smaller --shape, or larger references"
        )
    bright = float(patterns.max()) * request.counts * _HEADROOM > np.iinfo(np.uint16).max
    with request.references.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    visibility = tuple(read_table(request.references)["visibility"].tolist())
    return PairPlan(request, (shape[0], shape[1]), visibility, digest, "u4" if bright else "u2")


def write_pair_set(
    path: Path,
    plan: PairPlan,
    *,
    workers: int = 1,
    resume: bool = False,
    report: Callable[[int], None] = lambda _: None,
) -> None:
    """Make the set; the file does not depend on `workers`, nor on interruptions.

    Args:
        path: of the new file.
        plan: what it is to hold.
        workers: processes that share the work.
        resume: go on with an unfinished file.
        report: called with the number of pairs that are there.

    Raises:
        CadeError: as `RowFile`.
    """
    with RowFile(path, KIND, plan.settings(), plan.tables(), resume=resume) as file:
        missing = [(group, row) for group in (TRAIN, TEST) for row in file.missing(group)]
        done = plan.request.train + plan.request.test - len(missing)
        report(done)
        rows = in_order(partial(_row, plan), missing, workers)
        for (group, row), values in zip(missing, rows, strict=True):
            file.write(group, row, values)
            done += 1
            report(done)
        file.finish()


def _row(plan: PairPlan, place: tuple[str, int]) -> dict[str, NDArray[Any] | float]:
    group, row = place
    request, count = plan.request, len(plan.visibility)
    index = row % count
    # Every pattern gets all patches in turn, and a small set of many patterns does as well.
    patch_px = PATCHES_PX[(index + row // count) % len(PATCHES_PX)]
    settings = PairSettings(
        visibility=None,
        counts=(request.counts, request.counts),
        transmission=(_FLOOR, _FLOOR),
        flat=0.0,
        focusing=request.focusing,
        deformation=PAPER,
    )
    pattern = read_pattern(request.references, index)
    generator = seeded_generator(request.seed, (TRAIN, TEST).index(group), row)
    pair = make_pairs(pattern[None], 1, plan.shape, settings, generator, [patch_px])
    return {
        "reference": (pair.reference[0] * request.counts).round().numpy(),
        "sample": (pair.sample[0] * request.counts).round().numpy(),
        "ux_px": pair.displacement_px[0, 0].numpy(),
        "uy_px": pair.displacement_px[0, 1].numpy(),
        "transmission": pair.transmission[0].numpy(),
        "pattern": index,
        "patch_px": patch_px,
        "visibility": plan.visibility[index],
    }
