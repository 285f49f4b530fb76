"""`cade simulate references`: sets of reference patterns, and what their speckles look like."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daemon.commands.argument_types import positive
from daemon.commands.simulate_options import add_work_arguments, progress, sheet_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.pattern_set import PatternSetRequest

    Actions = argparse._SubParsersAction[argparse.ArgumentParser]


def add_references(actions: Actions) -> argparse.ArgumentParser:
    """Declare `references`, without the options that all of `simulate` have."""
    parser = actions.add_parser("references", help="noise-free reference patterns, HDF5")
    parser.add_argument(
        "--set",
        choices=("paper", "wide"),
        default="wide",
        help="paper: 22 to 110 µm FWHM, visibility from 20 %%; "
        "wide: 1.8 to 12 px, visibility 5 to 60 %%",
    )
    parser.add_argument(
        "--count", type=positive, default=364, metavar="N", help="patterns; the paper's 364"
    )
    parser.add_argument("--verbose", action="store_true", help="one line for each pattern")
    add_work_arguments(parser)
    parser.set_defaults(action=simulate_references, suffix=(".h5",), default_shape=(256, 256))
    return parser


def simulate_references(arguments: argparse.Namespace) -> None:
    """Make the set `arguments.output` and its contact sheet, and say what it measures."""
    from simulator.optics import Optics
    from simulator.pattern_range import RANGES
    from simulator.pattern_set import KIND, PatternSetRequest, read_table
    from simulator.stored_rows import is_finished

    limits = RANGES[arguments.set]
    request = PatternSetRequest(limits, arguments.count, arguments.shape, arguments.seed)
    sheet = sheet_path(arguments)
    if not (arguments.resume and is_finished(arguments.output, KIND, request.settings())):
        _make(arguments, request)
    pixel_size_m = Optics().pixel_size_m
    _draw(arguments.output, sheet, pixel_size_m)
    table = read_table(arguments.output)
    table["fwhm_um"] = table["speckle_fwhm"] * pixel_size_m * 1e6
    if arguments.verbose:
        _print_patterns(table)
    _print_summary(table)


def _make(arguments: argparse.Namespace, request: PatternSetRequest) -> None:
    from simulator.parallel import usable_cores
    from simulator.pattern_set import write_pattern_set

    with progress(arguments.output, request.count, "pattern") as report:
        write_pattern_set(
            arguments.output,
            request,
            workers=min(arguments.workers or usable_cores(), request.count),
            resume=arguments.resume,
            report=report,
        )


def _draw(output: Path, sheet: Path, pixel_size_m: float) -> None:
    from simulator.contact_sheet import pattern_sheet, save_sheet

    if not sheet.exists():
        save_sheet(pattern_sheet(output, pixel_size_m), sheet)


def _print_patterns(table: dict[str, NDArray[Any]]) -> None:
    rows = zip(table["speckle_fwhm"], table["fwhm_um"], table["visibility"], strict=True)
    _print("pattern  FWHM [px]  FWHM [µm]  visibility")
    for index, (size_px, size_um, visibility) in enumerate(rows):
        _print(f"{index:7d}  {size_px:9.2f}  {size_um:9.1f}  {visibility:10.3f}")


def _print_summary(table: dict[str, NDArray[Any]]) -> None:
    count, redrawn = len(table["draws"]), int((table["draws"] - 1).sum())
    _print(f"{count} patterns; {redrawn} others did not keep to the limits and were drawn again")
    _print("               min   median      max")
    for name, title, form in (
        ("speckle_fwhm", "FWHM [px]", "8.2f"),
        ("fwhm_um", "FWHM [µm]", "8.1f"),
        ("visibility", "visibility", "8.3f"),
    ):
        low, middle, high = np.percentile(table[name], (0, 50, 100))
        _print(f"{title:10s}{low:{form}} {middle:{form}} {high:{form}}")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
