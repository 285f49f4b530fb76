"""One averaged reference as an HDF5 file: written whole or not at all, read with checksums."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from cade.errors import CadeError
from daemon.correction.monitor import usable
from daemon.references.average import Average
from daemon.references.conditions import Conditions

GROUP = "/entry/reference"
_QUANTITIES = {
    "energy": ("energy_ev", "eV"),
    "exposure": ("exposure_s", "s"),
    "distance": ("distance_m", "m"),
    "source_distance": ("source_distance_m", "m"),
    "diffuser": ("diffuser_m", "m"),
}
"""Dataset: field of `Conditions` and units."""


@dataclass(frozen=True, slots=True)
class ReferenceSummary:
    """A stored reference without its pixels. `shape` is `(H, W)`, `timestamp_s` POSIX time.

    `left_out` names frames that were unlike the others.
    """

    reference_id: str
    timestamp_s: float
    shape: tuple[int, int]
    frame_count: int
    origin: str
    conditions: Conditions
    left_out: tuple[str, ...]


def write_reference(path: Path, summary: ReferenceSummary, average: Average) -> None:
    """Write a file that appears under its name only when it is complete and on the disk.

    Raises:
        CadeError: the folder cannot be made or written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(_encoded(summary, average))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise CadeError(
            f"{path}: the reference cannot be written ({error.strerror}); check the folder's "
            "permissions and free space, or change [references] path"
        ) from None


def read_summary(path: Path) -> ReferenceSummary:
    """What a file holds, without its pixels.

    Raises:
        CadeError: it is gone, damaged, or no reference.
    """
    with _opened(path) as group:
        rows, columns = group["mean"].shape
        return ReferenceSummary(
            reference_id=path.stem,
            timestamp_s=float(group["timestamp"][()]),
            shape=(int(rows), int(columns)),
            frame_count=int(group["frame_count"][()]),
            origin=group["origin"].asstr()[()],
            conditions=_read_conditions(group),
            left_out=_read_left_out(group),
        )


def read_average(path: Path) -> Average:
    """The pixels, checked against the checksums in the file.

    Raises:
        CadeError: it is gone, damaged, or no reference.
    """
    with _opened(path) as group:
        mean: NDArray[np.float32] = group["mean"][()]
        variance: NDArray[np.float32] = group["variance"][()]
        count, left_out = int(group["frame_count"][()]), _read_left_out(group)
        monitor = float(group.attrs["monitor"]) if "monitor" in group.attrs else None
        return Average(mean, variance, count, left_out, usable(monitor))


def _encoded(summary: ReferenceSummary, average: Average) -> bytes:
    """The file's bytes. Built in memory, so that a full disk is an ordinary OSError."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "reference"})
        group = entry.create_group("reference")
        group.attrs.update({"NX_class": "NXdata", "signal": "mean"})
        for name, pixels, units in (
            ("mean", average.mean, "counts"),
            ("variance", average.variance, "counts^2"),
        ):
            dataset = group.create_dataset(name, data=pixels, chunks=pixels.shape, fletcher32=True)
            dataset.attrs["units"] = units
        group["timestamp"] = summary.timestamp_s
        group["timestamp"].attrs["units"] = "s"
        group["frame_count"] = average.count
        group["frame_count"].attrs["units"] = ""
        group["time"] = datetime.fromtimestamp(summary.timestamp_s, UTC).isoformat()
        group["origin"] = summary.origin
        if average.monitor is not None:
            group.attrs["monitor"] = average.monitor
        group["left_out"] = np.array(summary.left_out, h5py.string_dtype())
        _write_conditions(group, summary.conditions)
    return buffer.getvalue()


def _write_conditions(group: h5py.Group, conditions: Conditions) -> None:
    """What is not known is not written."""
    group["detector"] = conditions.detector
    for name, (attribute, units) in _QUANTITIES.items():
        value = getattr(conditions, attribute)
        if value is not None:
            group[name] = value
            group[name].attrs["units"] = units


def _read_conditions(group: h5py.Group) -> Conditions:
    values = {
        attribute: float(group[name][()])
        for name, (attribute, _) in _QUANTITIES.items()
        if name in group
    }
    return Conditions(detector=group["detector"].asstr()[()], **values)


def _read_left_out(group: h5py.Group) -> tuple[str, ...]:
    return tuple(group["left_out"].asstr()[()]) if "left_out" in group else ()


@contextmanager
def _opened(path: Path) -> Iterator[h5py.Group]:
    try:
        with h5py.File(path, "r") as file:
            yield file[GROUP]
    except FileNotFoundError:
        raise CadeError(f"{path}: no such reference; see cade references list") from None
    # h5py raises these on damaged bytes and on files that hold something else
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        what = " ".join(str(error).split())
        raise CadeError(f"{path}: damaged, or not a reference ({what}); remove the file") from None


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
