"""`cade references`: the store of references, by hand."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cade.errors import CadeError
from cade.files import read_beamline, read_frames
from cade.frames import Frame, Image
from daemon.configuration import load_settings
from daemon.correction.monitor import usable
from daemon.correction.pixel_limits import Limits
from daemon.panels import Panel
from daemon.preview import check_preview, save_picture
from daemon.references.conditions import Conditions, known_conditions
from daemon.references.file import ReferenceSummary
from daemon.references.store import ReferenceStore
from daemon.settings import DetectorSettings

HELP = "list, show, add, remove and export references"
EXAMPLE = "cade references add --detector eiger ref_000.tif ref_001.tif ref_002.tif"
THUMBNAIL_PX = 320
"""Longest side of a thumbnail's image: larger ones lose rows and columns, not sharpness."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `list`, `show`, `add`, `remove` and `export`."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="configuration")
    parser.add_argument(
        "--store", type=Path, metavar="FOLDER", help="the store, instead of the configured one"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="one line a reference, the oldest first")
    listing.add_argument(
        "--thumbnails", type=Path, metavar="FOLDER", help="write a picture of each, ID.png"
    )
    listing.set_defaults(action=_list)
    show = actions.add_parser("show", help="all that is known of a reference")
    show.add_argument("--preview", type=Path, metavar="F.png", help="picture of mean and noise")
    show.set_defaults(action=_show)
    _declare_add(actions.add_parser("add", help="average the images of files into a new reference"))
    remove = actions.add_parser("remove", help="delete references")
    remove.add_argument("ids", nargs="+", metavar="ID")
    remove.set_defaults(action=_remove)
    export = actions.add_parser("export", help="write a reference as float32 TIFF")
    export.set_defaults(action=_export)
    for action in (show, export):
        action.add_argument("id", metavar="ID")
    export.add_argument("file", type=Path, metavar="FILE.tif")


def _declare_add(add: argparse.ArgumentParser) -> None:
    add.add_argument("files", type=Path, nargs="+", metavar="FILE", help="TIFF, HDF5 or .npy")
    add.add_argument("--detector", metavar="NAME", help="name of the detector")
    add.add_argument("--energy-kev", type=float, metavar="E")
    add.add_argument("--exposure-s", type=float, metavar="T")
    add.add_argument("--distance-m", type=float, metavar="D")
    add.add_argument("--source-distance-m", type=float, metavar="R1")
    add.add_argument("--diffuser-m", type=float, metavar="X", help="position of the diffuser")
    add.add_argument("--monitor", type=_monitor, metavar="M", help="the beam's, meanwhile")
    add.add_argument(
        "--time", type=_time, metavar="ISO", help="when they were taken, as 2026-01-31T12:00; now"
    )
    add.set_defaults(action=_add)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; 1 where something in the store is damaged."""
    arguments.settings = load_settings(arguments.config)
    folder = arguments.store or arguments.settings.references.path
    code: int = arguments.action(ReferenceStore(folder), arguments)
    return code


def _list(store: ReferenceStore, arguments: argparse.Namespace) -> int:
    listing = store.list()
    for summary in listing.references:
        _print(_row(summary))
        if arguments.thumbnails:
            _save_thumbnail(store, summary, arguments.thumbnails)
    for line in listing.damaged:
        sys.stderr.write(f"cade: {line}\n")
    if not listing.references and not listing.damaged:
        sys.stderr.write(f"cade: {store.folder}: no references; add one with references add\n")
    return 1 if listing.damaged else 0


def _show(store: ReferenceStore, arguments: argparse.Namespace) -> int:
    if arguments.preview:
        check_preview(arguments.preview)
    summary, average = store.show(arguments.id)
    finite = average.mean[np.isfinite(average.mean)]
    noise = np.sqrt(average.variance[np.isfinite(average.variance)])
    _print(_row(summary))
    _print(f"origin:         {summary.origin or 'unknown'}")
    for field in dataclasses.fields(summary.conditions):
        value = getattr(summary.conditions, field.name)
        if value is not None and field.name != "detector":
            _print(f"{field.name + ':':<15} {value:.9g}")
    if average.monitor is not None:
        _print(f"monitor:        {average.monitor:.9g}")
    for line in summary.left_out:
        _print(f"left out:       {line}")
    if finite.size:
        _print(
            f"mean:           {finite.mean():.6g} counts ({finite.min():.6g} … {finite.max():.6g})"
        )
    _print(f"invalid pixels: {average.mean.size - finite.size}")
    if noise.size:
        _print(f"noise a frame:  {noise.mean():.6g} counts")
    if arguments.preview:
        panels = [Panel("mean", average.mean, "counts", "grey")]
        if noise.size:
            panels.append(Panel("noise a frame", np.sqrt(average.variance), "counts"))
        save_picture(panels, arguments.preview)
    return 0


def _save_thumbnail(store: ReferenceStore, summary: ReferenceSummary, folder: Path) -> None:
    _, average = store.show(summary.reference_id)
    step = max(1, -(-max(average.mean.shape) // THUMBNAIL_PX))
    panel = Panel(summary.reference_id, average.mean[::step, ::step], "counts", "grey")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CadeError(f"{folder}: cannot be made ({error.strerror}); name another") from None
    save_picture([panel], folder / f"{summary.reference_id}.png")


def _add(store: ReferenceStore, arguments: argparse.Namespace) -> int:
    summary = store.add(
        _frames(arguments.files, arguments.settings.detector),
        # Added by hand means: use this one from now on.
        timestamp_s=time.time() if arguments.time is None else arguments.time,
        conditions=_conditions(arguments),
        origin=", ".join(str(file) for file in arguments.files),
        monitor=arguments.monitor,
    )
    _print(f"{summary.reference_id}  mean of {summary.frame_count} frames")
    for line in summary.left_out:
        sys.stderr.write(f"cade: left out {line}\n")
    return 0


def _conditions(arguments: argparse.Namespace) -> Conditions:
    """Options before the configuration before the first file's metadata."""
    stated = known_conditions(arguments.settings.geometry, read_beamline(arguments.files[0]))
    kev = arguments.energy_kev
    options = {
        "detector": arguments.detector,
        "energy_ev": None if kev is None else kev * 1e3,
        "exposure_s": arguments.exposure_s,
        "distance_m": arguments.distance_m,
        "source_distance_m": arguments.source_distance_m,
        "diffuser_m": arguments.diffuser_m,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    return dataclasses.replace(stated, **given)


def _monitor(text: str) -> float:
    """A number to divide by."""
    value = usable(float(text))
    if value is None:
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text}")
    return value


def _time(text: str) -> float:
    """POSIX time of an ISO 8601 time; without a zone it is that of this machine."""
    return datetime.fromisoformat(text).timestamp()


def _remove(store: ReferenceStore, arguments: argparse.Namespace) -> int:
    for reference_id in arguments.ids:
        store.remove(reference_id)
    return 0


def _export(store: ReferenceStore, arguments: argparse.Namespace) -> int:
    store.export(arguments.id, arguments.file)
    return 0


def _frames(files: list[Path], detector: DetectorSettings) -> Iterator[tuple[str, Image]]:
    """As the daemon averages them: saturated pixels are NaN."""
    limits = Limits(detector.saturation_value, detector.invalid_below)
    for file in files:
        for number, image in enumerate(read_frames(file)):
            yield f"frame {number} of {file}", limits.marked(Frame("", number, image, 0.0))


def _row(summary: ReferenceSummary) -> str:
    taken = datetime.fromtimestamp(summary.timestamp_s, UTC)
    (rows, columns), conditions = summary.shape, summary.conditions
    energy_ev, exposure_s = conditions.energy_ev, conditions.exposure_s
    parts = (
        f"{summary.reference_id}  {taken:%Y-%m-%d %H:%M:%S} UTC  {rows} × {columns}",
        f"{summary.frame_count} frames",
        conditions.detector,
        "" if energy_ev is None else f"{energy_ev * 1e-3:.6g} keV",
        "" if exposure_s is None else f"{exposure_s:.4g} s",
        f"{len(summary.left_out)} left out" if summary.left_out else "",
    )
    return "  ".join(part for part in parts if part)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
