"""The studies of `cade evaluate`, with progress, one after the other; finished ones are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models import load_tracker
from models.evaluation.contenders import Contender
from models.evaluation.outcome import Outcome, Row, Shelf
from models.evaluation.pair import (
    YARDSTICK_WINDOW_PX,
    Found,
    Pair,
    Region,
    check_pair,
    flattest_block,
    pair_row,
    tracked,
)
from models.evaluation.studies import STUDIES, Inputs
from models.registry import TRACKERS

_YARDSTICKS = tuple(name for name in ("zncc", "umpa") if name in TRACKERS)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Tables and fields of every tracker by label; the region of the pair without sample."""

    tables: dict[str, dict[str, Sequence[Row]]] = field(default_factory=dict)
    images: dict[str, dict[str, NDArray[np.float32]]] = field(default_factory=dict)
    free: Region | None = None

    def add(self, label: str, outcome: Outcome) -> None:
        """Put another study of a tracker to the others."""
        self.tables.setdefault(label, {}).update(outcome.tables)
        self.images.setdefault(label, {}).update(outcome.images)


def measure_studies(
    found: Sequence[Contender], names: Sequence[str], inputs: Inputs, folder: Path | None
) -> Measured:
    """Every study of every tracker."""
    measured = Measured()
    shelf = None if folder is None else Shelf(folder)
    jobs = [(name, contender) for name in names for contender in found]
    with tqdm(jobs, unit="study", disable=None) as bar:
        for name, contender in bar:
            bar.set_description(f"{name}, {contender.label}")
            key = (name, contender.device, contender.tracker.provenance, _described(inputs))
            outcome = None if shelf is None else shelf.take(key)
            if outcome is None:
                outcome = STUDIES[name](contender, inputs)
                if shelf is not None:
                    shelf.keep(key, outcome)
            measured.add(contender.label, outcome)
    return measured


def measure_pair(found: Sequence[Contender], pair: Pair) -> Measured:
    """Every tracker on one pair, beside the yardsticks.

    Raises:
        UsageError: shapes that differ.
        CadeError: no speckle, or nothing that a tracker could follow.
    """
    check_pair(pair)
    fields = {
        c.label: tracked(c.tracker, pair, c.label)
        for c in tqdm(found, unit="tracker", disable=None)
    }
    yardsticks = _yardsticks(found[0].device, pair)
    if pair.free is None:
        pair = replace(pair, free=flattest_block([*fields.values(), *yardsticks.values()]))
    measured = Measured(free=pair.free)
    for label, u in fields.items():
        images = {"ux_px": u.ux_px.numpy(), "uy_px": u.uy_px.numpy()}
        measured.add(label, Outcome({"pair": [pair_row(u, pair, yardsticks)]}, images))
    return measured


def _yardsticks(device: str, pair: Pair) -> dict[str, Found]:
    """The fields of the conventional trackers at a large window, where the frame has room."""
    if min(pair.sample.shape) < YARDSTICK_WINDOW_PX:
        return {}
    return {
        name: load_tracker(name, device=device, window=YARDSTICK_WINDOW_PX).track(
            pair.reference, pair.sample
        )
        for name in _YARDSTICKS
    }


def _described(inputs: Inputs) -> tuple[Any, ...]:
    return inputs.plan, inputs.counts, inputs.transmission, inputs.shifts_px
