"""`cade process`: files through the daemon's own processing code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HELP = "files in, one HDF5 file out"
_REGION = ("Y0", "Y1", "X0", "X1")
EXAMPLE = (
    "cade process --reference ref.tif --sample sample_*.tif --flat flat.tif --output scan.h5 \\\n"
    "               --energy-kev 25 --distance-m 0.7 --pixel-um 6.5 --preview scan.png"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "--reference",
        type=Path,
        nargs="+",
        required=True,
        metavar="F",
        help="reference frames (TIFF, HDF5/NeXus, .npy); several are averaged",
    )
    add(
        "--sample",
        type=Path,
        nargs="+",
        required=True,
        metavar="F",
        help="sample frames; each is a row of the output",
    )
    add("--output", type=Path, required=True, metavar="OUT.h5", help="must not exist")
    add("--flat", type=Path, nargs="+", default=[], metavar="F", help="flat frames, averaged")
    add("--dark", type=Path, nargs="+", default=[], metavar="F", help="dark frames, averaged")
    add("--config", type=Path, metavar="F", help="configuration file (TOML)")
    add("--tracker", metavar="NAME", help="cade, zncc or umpa")
    add("--weights", metavar="NAME|FILE", help="weights of the cade tracker")
    add("--window", type=int, metavar="PX", help="window of the conventional trackers (15)")
    add("--device", metavar="NAME", help="auto, cpu, cuda …")
    add("--energy-kev", type=float, metavar="E", help="photon energy")
    add("--distance-m", type=float, metavar="D", help="propagation distance")
    add("--pixel-um", type=float, metavar="P", help="effective detector pixel")
    add(
        "--source-distance-m",
        type=float,
        metavar="R1",
        help="source to sample; without it the beam is parallel",
    )
    add("--displacement-only", action="store_true", help="no refraction and phase, no geometry")
    add(
        "--divide-focusing",
        action="store_true",
        help="divide det(1 − ∇u) out of the transmission, which leaves absorption",
    )
    add("--preview", type=Path, metavar="F.png", help="picture of the first row")
    _declare_detector(parser.add_argument_group("the detector, as in [detector]"))
    _declare_beam(parser.add_argument_group("transmission, as in [transmission]"))


def _declare_detector(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--mask", type=Path, metavar="F", help="bad pixels: an image that is not 0 there")
    add("--gain", type=Path, metavar="F", help="image by which counts are divided")
    add("--flatfield", type=Path, metavar="F", help="image by which counts are multiplied")
    add("--saturation", type=float, metavar="N", help="pixels from so many counts on are invalid")
    add(
        "--rotate",
        type=int,
        choices=(0, 90, 180, 270),
        help="turn frames clockwise by so many degrees, before anything else",
    )
    add("--flip-x", action="store_true", help="then exchange left and right")
    add("--flip-y", action="store_true", help="then exchange top and bottom")
    add(
        "--roi",
        type=int,
        nargs=4,
        metavar=_REGION,
        help="then take rows Y0 to Y1 - 1, columns X0 to X1 - 1",
    )
    add("--binning", type=int, metavar="N", help="then make one pixel of N x N")
    add("--binning-mode", choices=("mean", "sum"), help="of the pixels in a bin (mean)")


def _declare_beam(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--free-air",
        type=int,
        nargs=4,
        metavar=_REGION,
        help="region without sample, where the transmission becomes 1; counted as --roi",
    )
    add(
        "--reference-monitor",
        type=float,
        metavar="M",
        help="the beam's monitor with the references (else what their files say)",
    )
    add(
        "--sample-monitor",
        type=float,
        nargs="+",
        default=[],
        metavar="M",
        help="likewise with each sample frame, or one value for all",
    )


def run(arguments: argparse.Namespace) -> int:
    """Process, list what was rejected, and return 1 if anything was."""
    from tqdm import tqdm

    from daemon.configuration import load_settings
    from daemon.preview import check_preview, save_preview
    from daemon.process import check_output, process_files
    from daemon.process_input import Files
    from daemon.warm_up import choose_threads
    from models import load_tracker

    settings = load_settings(arguments.config, options=_options(arguments))
    check_output(arguments.output)
    if arguments.preview is not None:
        check_preview(arguments.preview)
    options = settings.tracker
    choose_threads(options.threads)
    tracker = load_tracker(
        options.name,
        device=options.device,
        weights=options.weights,
        window=options.window,
        weights_folder=options.weights_folder,
    )
    files = Files(
        tuple(arguments.reference),
        tuple(arguments.sample),
        tuple(arguments.flat),
        tuple(arguments.dark),
        arguments.reference_monitor,
        tuple(arguments.sample_monitor),
    )
    with tqdm(unit="frame", disable=None) as bar:
        outcome = process_files(
            files,
            arguments.output,
            settings,
            tracker,
            displacement_only=arguments.displacement_only,
            report=lambda rows: bar.update(len(rows)),
        )
    for rejected in outcome.rejected:
        sys.stderr.write(
            f"cade: {rejected.origin}: frame {rejected.image_id} rejected "
            f"({rejected.reason}): {rejected.detail}\n"
        )
    sys.stdout.write(f"{arguments.output}: {outcome.written} rows\n")
    if arguments.preview is not None and outcome.first_sample is not None:
        save_preview(arguments.output, arguments.preview, sample=outcome.first_sample)
    return 1 if outcome.rejected else 0


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the command line says, as settings; None where it says nothing."""
    kev, um = arguments.energy_kev, arguments.pixel_um
    return {
        "tracker": {
            "name": arguments.tracker,
            "weights": arguments.weights,
            "window": arguments.window,
            "device": arguments.device,
        },
        "geometry": {
            "energy_ev": None if kev is None else kev * 1e3,
            "distance_m": arguments.distance_m,
            "pixel_size_m": None if um is None else um * 1e-6,
            "source_distance_m": arguments.source_distance_m,
        },
        "detector": {
            "mask": _text(arguments.mask),
            "gain": _text(arguments.gain),
            "flatfield": _text(arguments.flatfield),
            "saturation_value": arguments.saturation,
            "rotation_deg": arguments.rotate,
            "flip_x": arguments.flip_x or None,
            "flip_y": arguments.flip_y or None,
            "roi": arguments.roi,
            "binning": arguments.binning,
            "binning_mode": arguments.binning_mode,
        },
        "transmission": {"free_air": arguments.free_air},
        "output": {"divide_focusing": arguments.divide_focusing or None},
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
