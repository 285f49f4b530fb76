"""Images and their roles out of HDF5: NeXus, DECTRIS master and areaDetector layouts.

Looked for in this order, in the default entry (`@default`, then `/entry`, then the only NXentry):

1. `data/data`, or `data/data_000001`, `data/data_000002` … (DECTRIS master files, whose links lead
   to other files),
2. `instrument/detector/data`,
3. what the `@default` and `@signal` attributes point at.

**Roles.** NXtomo's `instrument/detector/image_key` (or `data/image_key`) is read as 0 = sample,
1 = reference, 2 = dark, 3 = invalid (skipped). NXtomo calls 1 "flat field": the frame without the
sample. In speckle imaging that frame, taken with the diffuser in the beam, *is* the reference.
A flat in our sense (no sample, no diffuser) has no number there; file or folder names say it.

**Images** are those that have been written: places that were only reserved do not count. Where one
of several files is not there yet, those before it are delivered first.

**Times** are areaDetector's `instrument/NDAttributes/NDArrayEpicsTSSec` and `…TSnSec`. **Monitors**
are NXmonitor's `control/data`, or `monitor/data`, one value an image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py

from cade.files.nexus_columns import Columns
from cade.files.nexus_file import NexusFile, attribute_text
from cade.files.stored import StoredImage, UnreadableFile, check_layout, native
from cade.files.written_frames import written_frames


def read_hdf5(path: Path, *, start: int = 0, within: Path | None = None) -> Iterator[StoredImage]:
    """Images `(H, W)` of an HDF5 file, frame by frame; see the module for where they are.

    Args:
        path: the file.
        start: so many images are left out; their pixels are not read.
        within: links must not leave this folder.

    Raises:
        UnreadableFile: no images where they are looked for, a link to a missing file, one damaged
            image, or an `image_key` that does not fit the images.
        OSError, RuntimeError, KeyError, ValueError: the file is damaged.
    """
    with NexusFile(path, within=within) as nexus:
        columns = Columns(nexus)
        place = delivered = 0
        for dataset, is_only in image_datasets(nexus):
            check_layout(path, dataset.shape, dataset.dtype)
            count, problem = written_frames(nexus, dataset)
            if is_only:
                columns.check(_frame_count(dataset))
            for number in range(count):
                if not columns.is_invalid(place + number):
                    if delivered >= start:
                        image = _image(path, dataset, number, delivered)
                        role, time_s = columns.role(place + number), columns.time_s(place + number)
                        monitor = columns.monitor(place + number)
                        yield StoredImage(image, role, time_s, monitor)
                    delivered += 1
            if problem:
                raise UnreadableFile(path, problem)
            place += _frame_count(dataset)
        columns.check(place)


def read_hdf5_time(path: Path, *, within: Path | None = None) -> float | None:
    """When the first image was taken [s, Unix time], else the entry's start_time.

    Raises:
        OSError, RuntimeError, KeyError, ValueError: the file is damaged.
    """
    with NexusFile(path, within=within, swmr=True) as nexus:
        time_s = Columns(nexus).time_s(0)
        if time_s is not None:
            return time_s
        stated = nexus.dataset("start_time")
        if stated is None or stated.size != 1:
            return None
        text = stated.asstr()[()] if stated.shape == () else stated.asstr()[0]
        return datetime.fromisoformat(text).timestamp()


def image_datasets(nexus: NexusFile) -> Iterator[tuple[h5py.Dataset, bool]]:
    """The datasets that hold the images, and whether it is the only one.

    Each is looked up when the one before has been used.

    Raises:
        UnreadableFile: there are none, or a link leads nowhere.
    """
    direct = nexus.dataset("data/data")
    if direct is not None:
        yield direct, True
        return
    empty = True
    for part in _numbered_datasets(nexus):
        empty = False
        yield part, False
    if not empty:
        return
    for found in (nexus.dataset("instrument/detector/data"), _signal(nexus)):
        if found is not None:
            yield found, True
            return
    raise UnreadableFile(
        nexus.path,
        f"has no images at {nexus.entry.name.rstrip('/')}/data/data or instrument/detector/data, "
        "and no @default and @signal that lead to them",
    )


def _image(path: Path, dataset: h5py.Dataset, number: int, index: int) -> Any:
    try:
        return native(dataset[number] if dataset.ndim == 3 else dataset[()])
    except (OSError, RuntimeError) as error:
        cause = " ".join(str(error).split())
        raise UnreadableFile(path, f"image {index} is damaged ({cause})", index=index) from error


def _numbered_datasets(nexus: NexusFile) -> Iterator[h5py.Dataset]:
    group = nexus.find("data")
    if not isinstance(group, h5py.Group):
        return
    for name in sorted(name for name in group if re.fullmatch(r"data_\d+", name)):
        found = nexus.dataset(name, group)
        if found is not None:
            yield found


def _signal(nexus: NexusFile) -> h5py.Dataset | None:
    """Follow `@default` from the entry down to a group with `@signal`."""
    group: Any = nexus.entry
    for _ in range(8):  # a chain that names itself must end
        if not isinstance(group, h5py.Group):
            return None
        signal = attribute_text(group, "signal")
        if signal:
            return nexus.dataset(signal, group)
        default = attribute_text(group, "default")
        if not default:
            return None
        group = nexus.find(default, nexus.h5 if default.startswith("/") else group)
    return None


def _frame_count(dataset: h5py.Dataset) -> int:
    return int(dataset.shape[0]) if dataset.ndim == 3 else 1
