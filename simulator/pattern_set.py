"""Sets of reference patterns as files: made by `cade simulate references`, read by the trainer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cade.errors import CadeError
from cade.version import __version__
from simulator.detector import HALF_PIXELS
from simulator.optics import Optics
from simulator.parallel import in_order
from simulator.pattern import Speckle, check_speckle
from simulator.pattern_range import PatternRange, draw_pattern
from simulator.row_file import RowFile
from simulator.row_layout import Column, Table
from simulator.stored_rows import open_rows

KIND = "cade pattern set"
PAPER_COUNT = 364

_NUMBERS = (
    Column("speckle_fwhm", "f4", "px", meaning="FWHM of the autocorrelation"),
    Column("visibility", "f4", "", meaning="standard deviation over mean"),
    Column("grain", "f4", "m", meaning="size of the grains"),
    Column("height", "f4", "", meaning="height of the grains over their size"),
    Column("coverage", "f4", "", meaning="share of the area with grains"),
    Column("layers", "u2", "", meaning="sandpapers behind each other"),
    Column("distance", "f4", "m", meaning="diffuser to detector"),
    Column("contrast", "f4", "", meaning="factor on the deviation from the mean"),
    Column("draws", "u2", "", meaning="sandpapers drawn until one was within the limits"),
)


@dataclass(frozen=True, slots=True)
class PatternSetRequest:
    """Which set: `count` patterns of `shape` `(H, W)` pixels within `limits`."""

    limits: PatternRange
    count: int = PAPER_COUNT
    shape: tuple[int, int] = (256, 256)
    seed: int = 1

    def settings(self) -> dict[str, Any]:
        """All that the file depends on, with units where names have them."""
        optics = Optics()
        names = ("energy_ev", "source_distance_m", "distance_m", "pixel_size_m", "source_fwhm_m")
        values = {
            **{name: getattr(optics, name) for name in (*names, "psf_sigma_px", "oversampling")},
            "set": self.limits.name,
            "limits": dataclasses.asdict(self.limits),
            "count": self.count,
            "shape": self.shape,
            "seed": self.seed,
            "samples_per_pixel": HALF_PIXELS,
            "version": __version__,
        }
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    def tables(self) -> list[Table]:
        """The layout: `patterns` `(n, 2H, 2W)` float16 of mean one, and one number each."""
        fine = tuple(HALF_PIXELS * length for length in self.shape)
        image = Column("patterns", "f2", "", fine, "intensity over its mean, two samples a pixel")
        return [Table("", self.count, (image, *_NUMBERS))]


def write_pattern_set(
    path: Path,
    request: PatternSetRequest,
    *,
    workers: int = 1,
    resume: bool = False,
    report: Callable[[int], None] = lambda _: None,
) -> None:
    """Make the set; the file does not depend on `workers`, nor on interruptions.

    Args:
        path: of the new file.
        request: what it is to hold.
        workers: processes that share the work.
        resume: go on with an unfinished file.
        report: called with the number of patterns that are there.

    Raises:
        CadeError: as `RowFile`; or the frame is too small for such speckle.
    """
    with RowFile(path, KIND, request.settings(), request.tables(), resume=resume) as file:
        missing = file.missing("")
        done = request.count - len(missing)
        report(done)
        rows = in_order(partial(_row, request), missing, workers)
        for index, values in zip(missing, rows, strict=True):
            file.write("", index, values)
            done += 1
            report(done)
        file.finish()


def _row(request: PatternSetRequest, index: int) -> dict[str, NDArray[Any] | float]:
    drawn = draw_pattern(index, request.shape, request.seed, request.limits)
    return {
        "patterns": drawn.intensity.half().numpy(),
        "speckle_fwhm": drawn.speckle.fwhm_px,
        "visibility": drawn.speckle.visibility,
        "grain": drawn.paper.grain_m,
        "height": drawn.paper.height,
        "coverage": drawn.paper.coverage,
        "layers": drawn.paper.layers,
        "distance": drawn.distance_m,
        "contrast": drawn.contrast,
        "draws": drawn.draws,
    }


def read_patterns(*paths: Path) -> torch.Tensor:
    """All patterns of one or several sets, `(n, 2H, 2W)` float16 of mean one.

    Raises:
        CadeError: a file is missing, foreign or incomplete, its patterns have another shape than
            the first file's, or one of them has no usable speckle.
    """
    stacks: list[torch.Tensor] = []
    for path in paths:
        check_speckles(path)
        with open_rows(path, KIND) as file:
            stacks.append(torch.from_numpy(file["patterns"][()]))
        if stacks[-1].shape[1:] != stacks[0].shape[1:]:
            theirs, ours = (
                " × ".join(str(n // HALF_PIXELS) for n in stack.shape[1:])
                for stack in (stacks[-1], stacks[0])
            )
            raise CadeError(
                f"{path}: patterns of {theirs} px, but those of {paths[0]} have {ours}; "
                "use sets of one --shape"
            )
    return torch.cat(stacks)


def read_pattern(path: Path, index: int) -> torch.Tensor:
    """One pattern of a set, `(2H, 2W)` float32, without the checks of `read_patterns`."""
    with open_rows(path, KIND) as file:
        return torch.from_numpy(file["patterns"][index].astype(np.float32))


def read_table(path: Path) -> dict[str, NDArray[Any]]:
    """One array `(n,)` for each number that is known of the patterns, by the names of the file.

    Raises:
        CadeError: the file is missing, foreign or incomplete.
    """
    with open_rows(path, KIND) as file:
        return {column.name: file[column.name][()] for column in _NUMBERS}


def check_speckles(path: Path) -> None:
    """Refuse a set with a pattern whose speckle no tracker could use.

    Raises:
        CadeError: that, or the file is missing, foreign or incomplete.
    """
    table = read_table(path)
    for index, (fwhm_px, visibility) in enumerate(
        zip(table["speckle_fwhm"].tolist(), table["visibility"].tolist(), strict=True)
    ):
        check_speckle(Speckle(fwhm_px, visibility), f"{path}, pattern {index}")
