"""`cade process`: files through the daemon's own processing code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HELP = "files in, one HDF5 file out"
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
    add("--tracker", metavar="NAME", help="cade or zncc")
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
        "output": {"divide_focusing": arguments.divide_focusing or None},
    }
