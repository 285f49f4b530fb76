"""`cade simulate`: reference patterns, phantoms and test pairs with known truth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from cade.errors import CadeError, UsageError

if TYPE_CHECKING:
    import torch

    from simulator.projection import Truth
    from simulator.scan import Counts, Scan

HELP = "references, data sets and phantoms with known truth"
EXAMPLE = "cade simulate phantom --kind sine --frames 4 --output sine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `references`, `phantom` and `pairs`."""
    actions = parser.add_subparsers(required=True, metavar="WHAT")
    references = actions.add_parser("references", help="noise-free reference patterns, HDF5")
    references.add_argument("--count", type=_positive, default=8, metavar="N", help="patterns")
    references.set_defaults(action=_references, suffix=(".h5",), default_shape=(256, 256))
    phantom = actions.add_parser("phantom", help="frames of a phantom as TIFF, with truth")
    phantom.add_argument(
        "--kind",
        choices=("sine", "hills"),
        default="hills",
        help="the paper's sine phantom, every frame by wave propagation, or moving hills",
    )
    phantom.add_argument("--frames", type=_positive, default=8, metavar="N", help="sample frames")
    phantom.add_argument("--references", type=_positive, default=4, metavar="N", help="references")
    phantom.set_defaults(action=_phantom, suffix=("",), default_shape=(512, 512))
    pairs = actions.add_parser("pairs", help="reference and sample with random displacement")
    pairs.add_argument("--count", type=_positive, default=60, metavar="N", help="pairs")
    _add_pair_arguments(pairs)
    pairs.set_defaults(action=_pairs, suffix=(".npz", ""), default_shape=(256, 256))
    for action, form in ((references, "FILE.h5"), (phantom, "FOLDER"), (pairs, "FILE.npz|FOLDER")):
        action.add_argument(
            "--shape", type=_positive, nargs=2, metavar=("H", "W"), help="height and width [px]"
        )
        action.add_argument("--seed", type=int, default=1, metavar="S", help="of all randomness")
        action.add_argument("--output", type=Path, required=True, metavar=form, help="must be new")


def _add_pair_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patch",
        type=_positive,
        nargs="+",
        metavar="P",
        help="node distances of the displacement [px], in turn; 4 8 16 32 64 128 if not given",
    )
    parser.add_argument(
        "--counts", type=_positive, default=1000, metavar="N0", help="mean counts of the reference"
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
    check_new(output)
    arguments.shape = tuple(arguments.shape or arguments.default_shape)
    try:
        arguments.action(arguments)
    except OSError as error:
        raise CadeError(f"{output}: cannot be written ({error.strerror or error})") from error
    _print(f"written: {output}")
    return 0


def _references(arguments: argparse.Namespace) -> None:
    from simulator.optics import Optics
    from simulator.pattern import reference_pattern
    from simulator.simulated_files import write_patterns

    optics = Optics()

    def patterns() -> Iterator[torch.Tensor]:
        for index in tqdm(range(arguments.count), unit="pattern", disable=None):
            yield reference_pattern(index, arguments.shape, arguments.seed, optics)

    speckles = write_patterns(arguments.output, patterns(), optics, arguments.seed)
    _print("pattern  FWHM [px]  FWHM [µm]  visibility")
    for index, speckle in enumerate(speckles):
        size_um = speckle.fwhm_px * optics.pixel_size_m * 1e6
        _print(f"{index:7d}  {speckle.fwhm_px:9.2f}  {size_um:9.1f}  {speckle.visibility:10.3f}")


def _phantom(arguments: argparse.Namespace) -> None:
    from simulator.scan import demo_scan, sine_scan
    from simulator.simulated_files import write_scan

    make = sine_scan if arguments.kind == "sine" else demo_scan
    scan = make(arguments.shape, arguments.seed)
    samples = _samples(scan, arguments.frames)
    write_scan(arguments.output, scan.references(arguments.references), samples)


def _samples(scan: Scan, count: int) -> Iterator[tuple[Counts, Truth]]:
    for index in tqdm(range(count), unit="frame", disable=None):
        yield scan.sample(index), scan.truth(index)


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


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
