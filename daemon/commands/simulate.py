"""`cade simulate`: reference patterns, stored pairs, phantoms and test pairs with known truth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from cade.errors import CadeError, UsageError
from daemon.commands.argument_types import positive
from daemon.commands.simulate_dataset import add_dataset
from daemon.commands.simulate_phantom import add_phantom
from daemon.commands.simulate_references import add_references

HELP = "references, data sets and phantoms with known truth"
EXAMPLE = "cade simulate phantom --kind sine --frames 4 --output sine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `references`, `dataset`, `phantom` and `pairs`."""
    actions = parser.add_subparsers(required=True, metavar="WHAT")
    references = add_references(actions)
    dataset = add_dataset(actions)
    phantom = add_phantom(actions)
    pairs = actions.add_parser("pairs", help="reference and sample with random displacement")
    pairs.add_argument("--count", type=positive, default=60, metavar="N", help="pairs")
    _add_pair_arguments(pairs)
    pairs.set_defaults(action=_pairs, suffix=(".npz", ""), default_shape=(256, 256))
    for action, form in (
        (references, "FILE.h5"),
        (dataset, "FILE.h5"),
        (phantom, "FOLDER"),
        (pairs, "FILE.npz|FOLDER"),
    ):
        action.add_argument(
            "--shape", type=positive, nargs=2, metavar=("H", "W"), help="height and width [px]"
        )
        action.add_argument("--seed", type=int, default=1, metavar="S", help="of all randomness")
        action.add_argument("--output", type=Path, required=True, metavar=form, help="must be new")


def _add_pair_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patch",
        type=positive,
        nargs="+",
        metavar="P",
        help="node distances of the displacement [px], in turn; 4 8 16 32 64 128 if not given",
    )
    parser.add_argument(
        "--counts", type=positive, default=1000, metavar="N0", help="mean counts of the reference"
    )
    parser.add_argument(
        "--transmission",
        type=float,
        nargs=2,
        default=(0.5, 1.0),
        metavar=("LOW", "HIGH"),
        help="range; of the map's floor where it varies, and then it reaches up to one",
    )
    parser.add_argument(
        "--visibility",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="range to which the contrast is scaled; the pattern's own if not given",
    )


def run(arguments: argparse.Namespace) -> int:
    """Simulate and write what was asked for."""
    from simulator.simulated_files import check_new

    output: Path = arguments.output
    if output.suffix not in arguments.suffix:
        wanted = " or ".join(suffix or "no ending (a folder)" for suffix in arguments.suffix)
        raise UsageError(f"--output {output}: its name must have {wanted}")
    if arguments.seed < 0:
        raise UsageError(f"--seed must not be negative: {arguments.seed}")
    if "resume" not in arguments:  # those that have it look at more than the name
        check_new(output)
    shape = arguments.shape or arguments.default_shape
    arguments.shape = shape and tuple(shape)
    try:
        arguments.action(arguments)
    except OSError as error:
        raise CadeError(f"{output}: cannot be written ({error.strerror or error})") from error
    _print(f"written: {output}")
    return 0


def _pairs(arguments: argparse.Namespace) -> None:
    from simulator.deformation import PATCHES_PX
    from simulator.simulated_files import write_pairs
    from simulator.unseen_pairs import PairRequest, unseen_pairs

    visibility = arguments.visibility
    request = PairRequest(
        shape=arguments.shape,
        seed=arguments.seed,
        patches_px=tuple(arguments.patch or PATCHES_PX),
        counts=arguments.counts,
        transmission=_range("--transmission", arguments.transmission, 1.0),
        visibility=visibility and _range("--visibility", visibility, 2.0),
    )
    pairs = unseen_pairs(request, arguments.count)
    write_pairs(arguments.output, tqdm(pairs, total=arguments.count, unit="pair", disable=None))


def _range(option: str, values: tuple[float, float], largest: float) -> tuple[float, float]:
    low, high = values
    if not 0 < low <= high <= largest:
        raise UsageError(f"{option}: needs 0 < LOW ≤ HIGH ≤ {largest:g}, not {low:g} {high:g}")
    return low, high


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
