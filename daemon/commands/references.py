"""`cade references`: the store of references, by hand."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cade.files import read_frames
from cade.frames import Image
from daemon.configuration import load_settings
from daemon.reference_file import ReferenceSummary
from daemon.references import ReferenceStore

HELP = "list, show, add, remove and export references"
EXAMPLE = "cade references add --detector eiger ref_000.tif ref_001.tif ref_002.tif"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `list`, `show`, `add`, `remove` and `export`."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="configuration")
    parser.add_argument(
        "--store", type=Path, metavar="FOLDER", help="the store, instead of the configured one"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="one line a reference, the oldest first")
    listing.set_defaults(action=_list)
    show = actions.add_parser("show", help="all that is known of a reference")
    show.set_defaults(action=_show)
    add = actions.add_parser("add", help="average the images of files into a new reference")
    add.add_argument("files", type=Path, nargs="+", metavar="FILE", help="TIFF, HDF5 or .npy")
    add.add_argument("--detector", default="", metavar="NAME", help="name of the detector")
    add.set_defaults(action=_add)
    remove = actions.add_parser("remove", help="delete references")
    remove.add_argument("ids", nargs="+", metavar="ID")
    remove.set_defaults(action=_remove)
    export = actions.add_parser("export", help="write a reference as float32 TIFF")
    export.set_defaults(action=_export)
    for action in (show, export):
        action.add_argument("id", metavar="ID")
    export.add_argument("file", type=Path, metavar="FILE.tif")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; 1 where something in the store is damaged."""
    folder = arguments.store or load_settings(arguments.config).references.path
    code: int = arguments.action(ReferenceStore(folder), arguments)
    return code


def _list(store: ReferenceStore, _: argparse.Namespace) -> int:
    listing = store.list()
    for summary in listing.references:
        _print(_row(summary))
    for line in listing.damaged:
        sys.stderr.write(f"cade: {line}\n")
    if not listing.references and not listing.damaged:
        sys.stderr.write(f"cade: {store.folder}: no references; add one with references add\n")
    return 1 if listing.damaged else 0


def _show(store: ReferenceStore, arguments: argparse.Namespace) -> int:
    summary, average = store.show(arguments.id)
    finite = average.mean[np.isfinite(average.mean)]
    noise = np.sqrt(average.variance[np.isfinite(average.variance)])
    _print(_row(summary))
    _print(f"origin:         {summary.origin or 'unknown'}")
    if finite.size:
        _print(
            f"mean:           {finite.mean():.6g} counts ({finite.min():.6g} … {finite.max():.6g})"
        )
    _print(f"invalid pixels: {average.mean.size - finite.size}")
    if noise.size:
        _print(f"noise a frame:  {noise.mean():.6g} counts")
    return 0


def _add(store: ReferenceStore, arguments: argparse.Namespace) -> int:
    reference = store.add(
        _frames(arguments.files),
        detector=arguments.detector,
        timestamp_s=time.time(),  # added by hand means: use this one from now on
        origin=", ".join(str(file) for file in arguments.files),
    )
    _print(f"{reference.reference_id}  mean of {reference.frame_count} frames")
    return 0


def _remove(store: ReferenceStore, arguments: argparse.Namespace) -> int:
    for reference_id in arguments.ids:
        store.remove(reference_id)
    return 0


def _export(store: ReferenceStore, arguments: argparse.Namespace) -> int:
    store.export(arguments.id, arguments.file)
    return 0


def _frames(files: list[Path]) -> Iterator[Image]:
    for file in files:
        yield from read_frames(file)


def _row(summary: ReferenceSummary) -> str:
    taken = datetime.fromtimestamp(summary.timestamp_s, UTC)
    rows, columns = summary.shape
    return (
        f"{summary.reference_id}  {taken:%Y-%m-%d %H:%M:%S} UTC  {rows} × {columns}  "
        f"{summary.frame_count} frames  {summary.detector}"
    ).rstrip()


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
