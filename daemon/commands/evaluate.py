"""`cade evaluate`: how good a tracker is, against truth and the limit."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.evaluation import PatchRow, ShiftRow

HELP = "how good the trackers are, against truth and the limit"
EXAMPLE = "cade evaluate --tracker cade --output evaluation"
QUICK_PATTERNS, PATTERNS = 4, 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--tracker", default="cade", metavar="NAME", help="cade or zncc")
    add("--weights", default="cade", metavar="NAME|FILE", help="weights of the cade tracker")
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
    from models.evaluation import mean_ratio, patch_study, shift_study, unseen_patterns

    tracker = load_tracker(
        arguments.tracker,
        device=arguments.device,
        weights=arguments.weights,
        window=arguments.window,
    )
    patterns = unseen_patterns(QUICK_PATTERNS if arguments.quick else PATTERNS)
    light = {"counts": arguments.counts, "transmission": arguments.transmission}
    patches = patch_study(tracker, patterns, **light)
    shifts = shift_study(tracker, patterns[:QUICK_PATTERNS], **light)
    numbers: dict[str, Any] = {
        **light,
        "ratio": mean_ratio(patches),
        "patches": [dataclasses.asdict(row) for row in patches],
        "shifts": [dataclasses.asdict(row) for row in shifts],
    }
    _print(patches, shifts, numbers["ratio"])
    if arguments.output is not None:
        _write(arguments.output, numbers)
    if arguments.update_card:
        from models.weights_file import find_weights, update_card

        update_card(find_weights(arguments.weights), numbers)
    return 0


def _print(patches: list[PatchRow], shifts: list[ShiftRow], ratio: float) -> None:
    lines = ["patch px   EPE px   limit px   ratio   within 1 sigma   valid"]
    lines += [
        f"{r.patch_px:8d} {r.epe_px:8.4f} {r.limit_px:10.4f} {r.ratio:7.2f} "
        f"{r.within_one_sigma:16.1%} {r.valid_fraction:7.2%}"
        for r in patches
    ]
    lines += [f"mean EPE over mean limit: {ratio:.2f}", "", "shift px   RMSE px   bias px"]
    lines += [f"{r.shift_px:8.1f} {r.rmse_px:9.4f} {r.bias_px:9.4f}" for r in shifts]
    sys.stdout.write("\n".join(lines) + "\n")


def _write(folder: Path, numbers: dict[str, Any]) -> None:
    """`evaluation.json`, and a CSV a table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(numbers, indent=2) + "\n")
    for name in ("patches", "shifts"):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(numbers[name][0]))
            writer.writeheader()
            writer.writerows(numbers[name])
