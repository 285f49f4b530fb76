"""The layout of a row file: an HDF5 file whose every byte has its place before the first row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cade.version import __version__

WRITTEN = "written"
"""One byte for each row of a table: 1 when the row is complete."""

Settings = Mapping[str, Any]
"""What a file depends on, as JSON knows it: equal settings give equal files."""


@dataclass(frozen=True, slots=True)
class Column:
    """One number or image (`shape`) for each row; `units` is "" for what has none."""

    name: str
    dtype: str
    units: str
    shape: tuple[int, ...] = ()
    meaning: str = ""

    @property
    def row_bytes(self) -> int:
        """What one row takes."""
        return int(math.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` rows of some columns under one group of the file; "" is the root."""

    group: str
    rows: int
    columns: tuple[Column, ...]

    def path(self, column: str) -> str:
        """Where a column lies in the file."""
        return f"{self.group}/{column}"

    @property
    def total_bytes(self) -> int:
        """What all rows take."""
        return self.rows * sum(column.row_bytes for column in (*self.columns, _WRITTEN))


_WRITTEN = Column(WRITTEN, "u1", "", meaning="1 where the row is complete")


def unfinished_path(path: Path) -> Path:
    """The name of a file until it is complete."""
    return path.with_name(path.name + ".part")


def create(path: Path, kind: str, settings: Settings, tables: Sequence[Table]) -> None:
    """Make the file with all rows in their places, unwritten. Images are chunks of one row each."""
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = kind
        file.attrs["creator"] = "cade"
        file.attrs["creator_version"] = __version__
        file.attrs["settings"] = json.dumps(settings, sort_keys=True)
        for name, value in settings.items():
            if isinstance(value, str | int | float):
                file.attrs[name] = value
        for table in tables:
            for column in (*table.columns, _WRITTEN):
                _create_column(file, table, column)


def _create_column(file: h5py.File, table: Table, column: Column) -> None:
    places = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    places.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    dataset = file.create_dataset(
        table.path(column.name),
        (table.rows, *column.shape),
        column.dtype,
        chunks=(1, *column.shape) if column.shape else None,
        dcpl=places,
        fill_time="never",
    )
    dataset.attrs["units"] = column.units
    if column.meaning:
        dataset.attrs["long_name"] = column.meaning


def offsets(file: h5py.File, tables: Sequence[Table]) -> dict[str, int]:
    """The byte at which row 0 of each column lies; the other rows follow without a gap."""
    found: dict[str, int] = {}
    for table in tables:
        for column in (*table.columns, _WRITTEN):
            dataset = file[table.path(column.name)].id
            if not column.shape:
                found[table.path(column.name)] = int(dataset.get_offset())
                continue
            rest = (0,) * len(column.shape)
            first, last = (
                dataset.get_chunk_info_by_coord((row, *rest)).byte_offset
                for row in (0, table.rows - 1)
            )
            if last - first != (table.rows - 1) * column.row_bytes:
                raise RuntimeError(f"{column.name}: this HDF5 library scatters unfiltered chunks")
            found[table.path(column.name)] = int(first)
    return found


def differences(theirs: Settings, ours: Settings) -> str:
    """Which settings two files do not share, for a message."""
    names = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
    return ", ".join(f"{name} {_brief(theirs, name)}, not {_brief(ours, name)}" for name in names)


def _brief(settings: Settings, name: str) -> str:
    text = json.dumps(settings.get(name))
    return text if len(text) <= 24 else text[:16] + "…"
