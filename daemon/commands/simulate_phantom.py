"""`cade simulate phantom`: frames of a sample with known truth, as a detector would write them."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from daemon.commands.argument_types import count, positive
from daemon.commands.simulate_scan import phantom_scan

if TYPE_CHECKING:
    from simulator.detector import Counts
    from simulator.projection import Truth
    from simulator.scan import Scan

KINDS = ("sine", "hills", "spheres", "wedge", "rods", "map")


def add_phantom(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    """Declare `phantom`, without the options that all of `simulate` have."""
    phantom = actions.add_parser("phantom", help="frames of a phantom as TIFF, with truth")
    phantom.add_argument("--frames", type=positive, default=8, metavar="N", help="sample frames")
    phantom.add_argument("--references", type=positive, default=4, metavar="N", help="references")
    phantom.add_argument("--flats", type=count, default=0, metavar="N", help="without diffuser")
    phantom.add_argument("--darks", type=count, default=0, metavar="N", help="without beam")
    _add_sample(phantom.add_argument_group("the sample"))
    _add_beam(phantom.add_argument_group("the beam"))
    _add_detector(phantom.add_argument_group("the detector"))
    phantom.set_defaults(action=simulate_phantom, suffix=("",), default_shape=(512, 512))
    return phantom


def _add_sample(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--kind",
        choices=KINDS,
        default="hills",
        help="hills, which move, are propagated in every eighth frame; all others at rest in every",
    )
    add("--material", default="alumina", metavar="NAME", help='or "FORMULA DENSITY" in g/cm³')
    add("--number", type=positive, metavar="N", help="hills (6), spheres (6) or rods (4)")
    add("--radius-um", type=float, metavar="R", help="spheres, rods; default: a share of the frame")
    add("--largest-px", type=float, metavar="U", help="displacement: hills (0.9), wedge (0.25)")
    add("--angle-deg", type=float, metavar="A", help="of rods, from right to down; random")
    add("--map", type=Path, metavar="FILE", help="thickness in metres: .npy, TIFF or HDF5")
    add("--map-pitch-um", type=float, metavar="P", help="between its nodes, in the sample plane")
    add("--scatter", type=float, metavar="URAD", help="rms angle where the sample is thickest")
    add("--scatter-grain-um", type=float, metavar="L", help="correlation length; half a pixel")


def _add_beam(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--energy-kev", type=float, default=30.0, metavar="E", help="photon energy")
    add("--distance-m", type=float, default=2.0, metavar="D", help="sample to detector")
    add("--pixel-um", type=float, default=12.0, metavar="P", help="detector pixel")
    add(
        "--source-distance-m",
        type=_source_distance,
        default=1.0,
        metavar="R1",
        help="source to sample; 0 or none is a parallel beam",
    )
    add("--oversampling", type=int, default=4, metavar="K", help="wave field samples a pixel")
    add("--counts", type=float, default=2000.0, metavar="N0", help="mean photons of a reference")


def _add_detector(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--gain", type=float, default=1.0, metavar="G", help="ADU per photon")
    add("--dark-level", type=float, default=0.0, metavar="ADU", help="without light")
    add("--read-noise", type=float, default=0.0, metavar="ADU", help="standard deviation")
    add("--saturation", type=int, metavar="ADU", help="largest number; that of the dtype")
    add("--dtype", choices=("uint16", "uint32"), default="uint16", help="of the frames")
    add("--bad-pixels", type=count, default=0, metavar="N", help="half of them dead, half hot")


def simulate_phantom(arguments: argparse.Namespace) -> None:
    """Simulate and write into `arguments.output`, a new folder.

    Raises:
        UsageError: something unphysical, before anything is written or long computed.
    """
    from simulator.pattern import check_speckle
    from simulator.simulated_files import write_scan

    scan = phantom_scan(arguments)
    scan.check()
    speckle = scan.speckle()
    check_speckle(speckle, "reference")
    sys.stdout.write(
        f"speckle: {speckle.fwhm_px:.2f} px FWHM, visibility {speckle.visibility:.1%}\n"
    )
    write_scan(
        arguments.output,
        scan.references(arguments.references),
        _samples(scan, arguments.frames),
        flats=scan.flats(arguments.flats),
        darks=scan.darks(arguments.darks),
    )


def _samples(scan: Scan, count: int) -> Iterator[tuple[Counts, Truth]]:
    for index in tqdm(range(count), unit="frame", disable=None):
        yield scan.sample(index), scan.truth(index)


def _source_distance(text: str) -> float:
    return math.inf if text.strip().lower() in ("none", "0") else float(text) or math.inf
