"""`cade simulate dataset`: the paper's stored pairs for training and testing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.argument_types import positive
from daemon.commands.simulate_options import add_work_arguments, progress, sheet_path

if TYPE_CHECKING:
    from simulator.pair_set_writer import PairPlan

    Actions = argparse._SubParsersAction[argparse.ArgumentParser]


def add_dataset(actions: Actions) -> argparse.ArgumentParser:
    """Declare `dataset`, without the options that all of `simulate` have."""
    parser = actions.add_parser("dataset", help="stored pairs for training and testing, HDF5")
    add = parser.add_argument
    add("--references", type=Path, required=True, metavar="FILE.h5", help="simulate references")
    add("--train", type=positive, default=21_840, metavar="N", help="pairs; the paper's 21840")
    add("--test", type=_from_zero, default=3_640, metavar="N", help="pairs; the paper's 3640")
    add("--counts", type=positive, default=1000, metavar="N0", help="mean counts of the reference")
    add(
        "--focusing",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="of the pairs carry the factor det(1 − ∇u); the paper's have none",
    )
    add_work_arguments(parser)
    parser.set_defaults(action=simulate_dataset, suffix=(".h5",), default_shape=None)
    return parser


def simulate_dataset(arguments: argparse.Namespace) -> None:
    """Make the set `arguments.output` and its contact sheet."""
    from simulator.pair_set import KIND
    from simulator.pair_set_writer import PairSetRequest, plan_pair_set
    from simulator.stored_rows import is_finished

    plan = plan_pair_set(
        PairSetRequest(
            references=arguments.references,
            train=arguments.train,
            test=arguments.test,
            shape=arguments.shape,
            counts=float(arguments.counts),
            focusing=arguments.focusing,
            seed=arguments.seed,
        )
    )
    sheet = sheet_path(arguments)
    height, width = plan.shape
    sys.stdout.write(
        f"{arguments.train} + {arguments.test} pairs of {height} × {width} px, "
        f"{plan.total_bytes / 1e9:.3g} GB\n"
    )
    sys.stdout.flush()
    if not (arguments.resume and is_finished(arguments.output, KIND, plan.settings())):
        _make(arguments, plan)
    _draw(arguments.output, sheet)


def _make(arguments: argparse.Namespace, plan: PairPlan) -> None:
    from simulator.pair_set_writer import write_pair_set
    from simulator.parallel import usable_cores

    total = arguments.train + arguments.test
    with progress(arguments.output, total, "pair") as report:
        write_pair_set(
            arguments.output,
            plan,
            workers=min(arguments.workers or usable_cores(), total),
            resume=arguments.resume,
            report=report,
        )


def _draw(output: Path, sheet: Path) -> None:
    from simulator.contact_sheet import pair_sheet, save_sheet
    from simulator.pair_set import open_pair_set

    if not sheet.exists():
        save_sheet(pair_sheet(open_pair_set(output)), sheet)


def _from_zero(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative: {value}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, not {value:g}")
    return value
