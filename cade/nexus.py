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

**Times** are areaDetector's `instrument/NDAttributes/NDArrayEpicsTSSec` and `…TSnSec`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cade.frames import Role
from cade.stored import StoredImage, UnreadableFile, check_layout, native

ROLE_OF_IMAGE_KEY = {0: Role.SAMPLE, 1: Role.REFERENCE, 2: Role.DARK}
INVALID_IMAGE_KEY = 3
EPICS_EPOCH_S = 631_152_000
"""1990-01-01 in Unix time."""


def read_hdf5(path: Path) -> Iterator[StoredImage]:
    """Images `(H, W)` of an HDF5 file, frame by frame; see the module for where they are.

    Raises:
        UnreadableFile: no images where they are looked for, a link to a missing file, or an
            `image_key` that does not fit the images.
        OSError, RuntimeError, KeyError, ValueError: the file is damaged.
    """
    with open_hdf5(path) as file:
        entry = find_entry(file)
        datasets = _image_datasets(path, file, entry)
        for dataset in datasets:
            check_layout(path, dataset.shape, dataset.dtype)
            _check_virtual_sources(path, dataset)
        count = sum(_frame_count(dataset) for dataset in datasets)
        keys = _image_keys(path, entry, count)
        times_s = _times(entry, count)
        for index, (dataset, number) in enumerate(_frames(datasets)):
            if keys is not None and keys[index] == INVALID_IMAGE_KEY:
                continue
            data = dataset[number] if dataset.ndim == 3 else dataset[()]
            role = None if keys is None else ROLE_OF_IMAGE_KEY[int(keys[index])]
            time_s = None if times_s is None else float(times_s[index])
            yield StoredImage(native(data), role, time_s)


def open_hdf5(path: Path) -> h5py.File:
    """The file for reading, with the compression filters that detectors use."""
    import hdf5plugin  # noqa: F401 - its import registers the filters

    return h5py.File(path, "r")


def find_entry(file: h5py.File) -> h5py.Group:
    """The entry that `@default` names, else `/entry`, else the only NXentry, else the root."""
    name = attribute_text(file, "default")
    for candidate in (name, "entry"):
        if candidate and isinstance(file.get(candidate), h5py.Group):
            return file[candidate]
    entries = [
        group
        for group in (file.get(key) for key in file)
        if isinstance(group, h5py.Group) and attribute_text(group, "NX_class") == "NXentry"
    ]
    return entries[0] if len(entries) == 1 else file


def find(path: Path, parent: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """The object at `name`, None where nothing has that name.

    Raises:
        UnreadableFile: there is a link of that name, but it leads nowhere.
    """
    here = parent
    for part in name.split("/"):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if link is None:
            return None
        try:
            here = here[part]
        except (KeyError, OSError) as error:
            target = getattr(link, "path", part)
            where = f"{link.filename}:{target}" if isinstance(link, h5py.ExternalLink) else target
            raise UnreadableFile(path, f"links to {where}, which cannot be opened") from error
    return here


def attribute_text(node: h5py.Group | h5py.Dataset, name: str) -> str | None:
    """A text attribute, whether stored as str, bytes or an array of one of them."""
    value = node.attrs.get(name)
    if isinstance(value, np.ndarray):
        value = value.flat[0] if value.size else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _image_datasets(path: Path, file: h5py.File, entry: h5py.Group) -> list[h5py.Dataset]:
    direct = _dataset(path, entry, "data/data")
    if direct is not None:
        return [direct]
    parts = _numbered_datasets(path, entry)
    if parts:
        return parts
    for found in (_dataset(path, entry, "instrument/detector/data"), _signal(path, file, entry)):
        if found is not None:
            return [found]
    raise UnreadableFile(
        path,
        f"has no images at {entry.name.rstrip('/')}/data/data or instrument/detector/data, "
        "and no @default and @signal that lead to them",
    )


def _dataset(path: Path, parent: h5py.Group, name: str) -> h5py.Dataset | None:
    found = find(path, parent, name)
    return found if isinstance(found, h5py.Dataset) else None


def _numbered_datasets(path: Path, entry: h5py.Group) -> list[h5py.Dataset]:
    group = find(path, entry, "data")
    if not isinstance(group, h5py.Group):
        return []
    names = sorted(name for name in group if re.fullmatch(r"data_\d+", name))
    found = (_dataset(path, group, name) for name in names)
    return [dataset for dataset in found if dataset is not None]


def _signal(path: Path, file: h5py.File, entry: h5py.Group) -> h5py.Dataset | None:
    """Follow `@default` from the entry down to a group with `@signal`."""
    group: Any = entry
    for _ in range(8):  # a chain that names itself must end
        if not isinstance(group, h5py.Group):
            return None
        signal = attribute_text(group, "signal")
        if signal:
            return _dataset(path, group, signal)
        default = attribute_text(group, "default")
        if not default:
            return None
        group = find(path, file if default.startswith("/") else group, default.strip("/"))
    return None


def _frame_count(dataset: h5py.Dataset) -> int:
    return int(dataset.shape[0]) if dataset.ndim == 3 else 1


def _frames(datasets: list[h5py.Dataset]) -> Iterator[tuple[h5py.Dataset, int]]:
    for dataset in datasets:
        for number in range(_frame_count(dataset)):
            yield dataset, number


def _check_virtual_sources(path: Path, dataset: h5py.Dataset) -> None:
    """HDF5 reads a missing source of a virtual dataset as zeros, without an error."""
    if not dataset.is_virtual:
        return
    for source in dataset.virtual_sources():
        # "." is this file; printf-style names stand for many files, which HDF5 counts itself.
        if source.file_name == "." or "%" in source.file_name:
            continue
        folder = Path(dataset.file.filename).parent
        if not (folder / source.file_name).exists():
            raise UnreadableFile(path, f"takes frames from {source.file_name}, which is missing")


def _image_keys(path: Path, entry: h5py.Group, count: int) -> NDArray[Any] | None:
    for name in ("instrument/detector/image_key", "data/image_key"):
        dataset = _dataset(path, entry, name)
        if dataset is not None:
            break
    else:
        return None
    keys = np.ravel(dataset[()])
    known = (*ROLE_OF_IMAGE_KEY, INVALID_IMAGE_KEY)
    if not np.isin(keys, known).all():
        raise UnreadableFile(path, f"has image_key values other than {known}")
    if keys.size not in (1, count):
        raise UnreadableFile(path, f"has {keys.size} image_key values for {count} images")
    return np.broadcast_to(keys, (count,))


def _times(entry: h5py.Group, count: int) -> NDArray[np.float64] | None:
    attributes = entry.get("instrument/NDAttributes")
    if not isinstance(attributes, h5py.Group):
        return None
    seconds = _column(attributes, "NDArrayEpicsTSSec", count)
    nanoseconds = _column(attributes, "NDArrayEpicsTSnSec", count)
    if seconds is None or nanoseconds is None:
        return None
    return seconds + nanoseconds * 1e-9 + EPICS_EPOCH_S


def _column(group: h5py.Group, name: str, count: int) -> NDArray[np.float64] | None:
    values = group.get(name)
    if not isinstance(values, h5py.Dataset) or values.shape != (count,):
        return None
    return values[()].astype(np.float64)  # type: ignore[no-any-return]
