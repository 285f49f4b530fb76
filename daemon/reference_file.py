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
from daemon.reference_average import Average

GROUP = "/entry/reference"


@dataclass(frozen=True, slots=True)
class ReferenceSummary:
    """A stored reference without its pixels. `shape` is `(H, W)`, `timestamp_s` POSIX time."""

    reference_id: str
    timestamp_s: float
    shape: tuple[int, int]
    frame_count: int
    detector: str
    origin: str


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
            detector=group["detector"].asstr()[()],
            origin=group["origin"].asstr()[()],
        )


def read_average(path: Path) -> Average:
    """The pixels, checked against the checksums in the file.

    Raises:
        CadeError: it is gone, damaged, or no reference.
    """
    with _opened(path) as group:
        mean: NDArray[np.float32] = group["mean"][()]
        variance: NDArray[np.float32] = group["variance"][()]
        return Average(mean, variance, int(group["frame_count"][()]))


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
        group["detector"] = summary.detector
        group["origin"] = summary.origin
    return buffer.getvalue()


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
