"""`cade evaluate`: how good the trackers are, against truth, the limit and each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.commands.argument_types import quantity

if TYPE_CHECKING:
    from daemon.commands.evaluate_run import Measured
    from models.evaluation.contenders import Contender, Wanted
    from models.evaluation.regression import Number
    from models.evaluation.studies import Inputs

HELP = "how good the trackers are, against truth and the limit"
EXAMPLE = (
    "cade evaluate --quick --output evaluation     # the trackers of the paper, three minutes\n"
    "  cade evaluate --tracker cade --weights cade --weights cade-accurate --output evaluation\n"
    "  cade evaluate --pair reference.tif sample.tif --truth u.npz --tracker umpa --window 25"
)
CARD_STUDIES = ("shifts", "patches", "reach", "coverage")
"""Whose numbers a card of weights holds."""
_STUDIES = (
    "shifts",
    "patches",
    "star",
    "noise",
    "windows",
    "run-time",
    "sine",
    "reach",
    "coverage",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "--tracker",
        action="append",
        metavar="NAME",
        help="may be repeated; cade alone with --weights or --update-card, else those of the paper",
    )
    add(
        "--weights",
        action="append",
        metavar="NAME|FILE",
        help="weights of the cade tracker (cade); may be repeated",
    )
    add("--weights-folder", type=Path, metavar="DIR", help="weights of your own, by name")
    add(
        "--window",
        type=int,
        action="append",
        metavar="PX",
        help="window of the conventional trackers, odd (15); may be repeated",
    )
    add("--device", action="append", metavar="NAME", help="auto, cpu, cuda …; may be repeated")
    add("--counts", type=quantity, default=1000.0, metavar="N0", help="mean counts a pixel (1000)")
    add("--transmission", type=_share, default=0.9, metavar="T", help="of the sample (0.9)")
    add(
        "--study",
        action="append",
        choices=_STUDIES,
        help="only this one; may be repeated. star, sine and run-time have a light of their own",
    )
    add("--quick", action="store_true", help="fewer and smaller frames: minutes, not hours")
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="write tables (CSV, JSON), figures (PNG) and report.html; started again with the same "
        "folder, studies that are finished are not measured again",
    )
    add("--update-card", action="store_true", help="put the numbers into the weights' card")
    add("--store-numbers", type=Path, metavar="F.json", help="write numbers with their errors")
    add(
        "--against",
        type=Path,
        metavar="F.json",
        help="compare with such numbers; 1 if any is worse by more than its error",
    )
    _add_pair(parser.add_argument_group("a pair of your own, instead of simulated ones"))


def _add_pair(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--pair", type=Path, nargs=2, metavar=("REF", "SAMPLE"), help="frames, as `cade process`")
    add("--flat", type=Path, metavar="F", help="divided out of both")
    add(
        "--truth",
        type=Path,
        metavar="U.npz",
        help="true displacement: ux_px and uy_px (H, W), positive where speckle moved right, down",
    )
    add(
        "--free-air",
        type=int,
        nargs=4,
        metavar=("Y0", "Y1", "X0", "X1"),
        help="region without sample; else the 64 px where the displacement varies least",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the tables, and write them where asked."""
    from daemon.commands.evaluate_files import Settings, region_text, write_all
    from daemon.commands.evaluate_run import measure_pair, measure_studies
    from daemon.commands.evaluate_text import text_tables
    from models.evaluation.contenders import contenders
    from models.evaluation.regression import numbers, store_numbers

    _check(arguments)
    settings = Settings(arguments.quick, arguments.counts, arguments.transmission)
    stored = _stored(arguments.against, settings.described())
    shelf = None if arguments.output is None else arguments.output / "studies"
    found = contenders(_wanted(arguments))
    inputs = _inputs(arguments)
    if arguments.pair is not None:
        from daemon.commands.evaluate_pair import read_pair

        pair = read_pair(arguments.pair, arguments.flat, arguments.truth, arguments.free_air)
        measured = measure_pair(found, pair)
    else:
        _check_windows(found, inputs)
        measured = measure_studies(found, _studies(arguments), inputs, shelf)
    sys.stdout.write(text_tables(measured.tables))
    if measured.free is not None:
        sys.stdout.write(f"region without sample: {region_text(measured.free)}\n")
    if arguments.output is not None:
        write_all(arguments.output, found, measured, settings)
    if arguments.update_card:
        _update_cards(found, measured, arguments)
    numbers_found = numbers(measured.tables)
    if arguments.store_numbers is not None:
        store_numbers(arguments.store_numbers, numbers_found, settings.described())
    return 0 if stored is None else _compare(numbers_found, stored, arguments.against)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is measured."""
    from cade.errors import UsageError

    if arguments.pair is None:
        given = (
            ("--flat", arguments.flat),
            ("--truth", arguments.truth),
            (
                "--free-air",
                arguments.free_air,
            ),
        )
        for option, value in given:
            if value is not None:
                raise UsageError(f"{option} belongs to --pair REF SAMPLE, which is not given")
    else:
        wrong = (
            ("--study", arguments.study),
            ("--update-card", arguments.update_card),
            (
                "--store-numbers",
                arguments.store_numbers,
            ),
            ("--against", arguments.against),
        )
        for option, value in wrong:
            if value:
                raise UsageError(f"{option} belongs to simulated frames; leave it out with --pair")
    missing = [s for s in CARD_STUDIES if s not in _studies(arguments)]
    if arguments.update_card and missing:
        raise UsageError(f"--update-card needs --study {missing[0]} too; or leave --study out")


def _wanted(arguments: argparse.Namespace) -> Wanted:
    from models.evaluation.contenders import PAPER_TRACKERS, Wanted

    only_cade = arguments.weights or arguments.update_card
    return Wanted(
        trackers=arguments.tracker or (("cade",) if only_cade else PAPER_TRACKERS),
        weights=arguments.weights or ("cade",),
        windows=arguments.window or (15,),
        devices=arguments.device or ("auto",),
        weights_folder=_weights_folder(arguments.weights_folder),
    )


def _weights_folder(given: Path | None) -> Path:
    """The folder of the user's own weights: the given one, or that of the settings."""
    from daemon.configuration import load_settings

    return given or load_settings().tracker.weights_folder


def _inputs(arguments: argparse.Namespace) -> Inputs:
    from models.evaluation.plan import FULL, QUICK
    from models.evaluation.studies import Inputs

    plan = QUICK if arguments.quick else FULL
    return Inputs(plan, counts=arguments.counts, transmission=arguments.transmission)


def _studies(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Those that are asked for, in the order in which all are made."""
    asked = arguments.study or (CARD_STUDIES if arguments.update_card else _STUDIES)
    return tuple(name for name in _STUDIES if name in asked)


def _check_windows(found: list[Contender], inputs: Inputs) -> None:
    """Refuse a window that some study would refuse after an hour."""
    from cade.errors import UsageError

    for contender in found:
        window = contender.tracker.provenance.parameters.get("window_px", 0)
        if int(window) > inputs.plan.least_side_px:
            raise UsageError(
                f"{contender.name}: window {window} is larger than the smallest frame of the "
                f"studies, {inputs.plan.least_side_px} px"
            )


def _update_cards(
    found: list[Contender], measured: Measured, arguments: argparse.Namespace
) -> None:
    from daemon.commands.evaluate_files import card_numbers
    from models.weights_file import find_weights, read_card, update_card

    own = _weights_folder(arguments.weights_folder)
    light: dict[str, Any] = {"counts": arguments.counts, "transmission": arguments.transmission}
    labels = [c.label for c in found if c.is_cade]
    for label, weights in zip(labels, arguments.weights or ("cade",), strict=False):
        path = find_weights(weights, own)
        # What else was measured, such as the cost, stays.
        numbers = read_card(path).numbers | light | card_numbers(measured.tables[label])
        update_card(path, numbers)


def _stored(path: Path | None, settings: dict[str, Any]) -> list[Number] | None:
    """The numbers to compare with, before anything is measured."""
    from cade.errors import UsageError
    from models.evaluation.regression import stored_numbers

    if path is None:
        return None
    stored, measured_with = stored_numbers(path)
    if measured_with != settings:
        words = ", ".join(f"{k} = {v}" for k, v in measured_with.items())
        raise UsageError(f"--against {path}: was measured with {words}; use the same options")
    return stored


def _compare(found: list[Number], stored: list[Number], path: Path) -> int:
    """Say what is worse than stored: 1 if anything is."""
    from cade.errors import UsageError
    from models.evaluation.regression import worse

    known = {(n.tracker, n.name) for n in stored}
    common = sum((n.tracker, n.name) in known for n in found)
    if not common:
        raise UsageError(f"--against {path}: has none of the numbers measured here")
    lines = worse(found, stored)
    for line in lines:
        sys.stderr.write(f"cade: {line}\n")
    sys.stdout.write(f"{common - len(lines)} of {common} numbers are no worse than stored\n")
    return 1 if lines else 0


def _share(text: str) -> float:
    value = quantity(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"must be at most 1, not {text}")
    return value
