"""`cade evaluate`: how good a tracker is, against truth and the limit."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from models.evaluation import CoverageRow, PatchRow, ReachRow, ShiftRow
    from models.tracker import Tracker

HELP = "how good the trackers are, against truth and the limit"
EXAMPLE = "cade evaluate --tracker cade --output evaluation"
QUICK_PATTERNS, PATTERNS = 4, 12
TABLES = ("patches", "shifts", "reach", "coverage")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--tracker", default="cade", metavar="NAME", help="cade or zncc")
    add("--weights", default="cade", metavar="NAME|FILE", help="weights of the cade tracker")
    add("--weights-folder", type=Path, metavar="DIR", help="weights of your own, by name")
    add("--window", type=int, default=15, metavar="PX", help="window of the conventional trackers")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda …")
    add("--counts", type=float, default=1000.0, metavar="N0", help="mean counts per pixel (1000)")
    add("--transmission", type=float, default=0.9, metavar="T", help="of the sample (0.9)")
    add("--quick", action="store_true", help=f"{QUICK_PATTERNS} patterns instead of {PATTERNS}")
    add("--output", type=Path, metavar="FOLDER", help="write the tables as CSV and JSON")
    add("--update-card", action="store_true", help="put the numbers into the weights' card")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the tables, and write them where asked."""
    from models import load_tracker
    from models.evaluation import unseen_patterns

    own = _weights_folder(arguments.weights_folder)
    tracker = load_tracker(
        arguments.tracker,
        device=arguments.device,
        weights=arguments.weights,
        window=arguments.window,
        weights_folder=own,
    )
    patterns = unseen_patterns(QUICK_PATTERNS if arguments.quick else PATTERNS)
    light = {"counts": arguments.counts, "transmission": arguments.transmission}
    tables = _studies(tracker, patterns, arguments.counts, arguments.transmission)
    numbers: dict[str, Any] = light | tables.numbers()
    sys.stdout.write(tables.text())
    if arguments.output is not None:
        _write(arguments.output, numbers)
    if arguments.update_card:
        from models.weights_file import find_weights, update_card

        update_card(find_weights(arguments.weights, own), numbers)
    return 0


def _weights_folder(given: Path | None) -> Path:
    """The folder of the user's own weights: the given one, or that of the settings."""
    from daemon.configuration import load_settings

    return given or load_settings().tracker.weights_folder


def _studies(
    tracker: Tracker, patterns: torch.Tensor, counts: float, transmission: float
) -> Tables:
    """All studies; shifts and range need fewer patterns, whose every pixel has one truth."""
    from models.evaluation import coverage_study, patch_study, reach_study, shift_study

    few = patterns[:QUICK_PATTERNS]
    light: dict[str, Any] = {"counts": counts, "transmission": transmission}
    return Tables(
        patches=patch_study(tracker, patterns, **light),
        focused=patch_study(tracker, few, **light, focusing=1.0),
        shifts=shift_study(tracker, few, **light),
        reach=reach_study(tracker, few, **light),
        coverage=coverage_study(tracker, few) if tracker.provenance.has_sigma else [],
    )


@dataclass(frozen=True, slots=True)
class Tables:
    """What was measured; `focused` are pairs that carry the factor det(1 − ∇u)."""

    patches: list[PatchRow]
    focused: list[PatchRow]
    shifts: list[ShiftRow]
    reach: list[ReachRow]
    coverage: list[CoverageRow]

    def numbers(self) -> dict[str, Any]:
        """For the card and for JSON."""
        from models.evaluation import mean_ratio

        tables = {name: [dataclasses.asdict(row) for row in getattr(self, name)] for name in TABLES}
        return {"ratio": mean_ratio(self.patches), "focused": mean_ratio(self.focused)} | tables

    def text(self) -> str:
        """For people."""
        numbers = self.numbers()
        lines = ["patch px   EPE px   limit px   ratio   within 1 sigma   valid"]
        lines += [
            f"{r.patch_px:8d} {r.epe_px:8.4f} {r.limit_px:10.4f} {r.ratio:7.2f} "
            f"{r.within_one_sigma:16.1%} {r.valid_fraction:7.2%}"
            for r in self.patches
        ]
        lines += [
            f"mean EPE over mean limit: {numbers['ratio']:.2f}; "
            f"where pairs carry det(1 − ∇u): {numbers['focused']:.2f}"
        ]
        lines += ["", "shift px   RMSE px   bias px"]
        lines += [f"{r.shift_px:8.1f} {r.rmse_px:9.4f} {r.bias_px:9.4f}" for r in self.shifts]
        lines += ["", "whole-frame shift px      EPE px    valid"]
        lines += [
            f"{r.shift_x_px:8.2f} {r.shift_y_px:8.2f} {r.epe_px:14.4f} {r.valid_fraction:8.2%}"
            for r in self.reach
        ]
        if self.coverage:
            lines += ["", "within 1 sigma   2 sigma   of"]
            lines += [
                f"{r.within_one:14.1%} {r.within_two:9.1%}   {r.group}" for r in self.coverage
            ]
        return "\n".join(lines) + "\n"


def _write(folder: Path, numbers: dict[str, Any]) -> None:
    """`evaluation.json`, and a CSV a table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(numbers, indent=2) + "\n")
    for name in (name for name in TABLES if numbers[name]):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(numbers[name][0]))
            writer.writeheader()
            writer.writerows(numbers[name])
