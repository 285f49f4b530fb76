"""Row files for reading: what they are, and whether they are complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cade.errors import CadeError
from simulator.row_layout import WRITTEN, Settings, unfinished_path


def is_finished(path: Path, kind: str, settings: Settings) -> bool:
    """Whether a file with these settings is complete under this name."""
    return path.exists() and stored_settings(path, kind) == settings


def stored_settings(path: Path, kind: str) -> dict[str, Any] | None:
    """The settings of a file, finished or not; None where it is something else."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if file.attrs.get("format") != kind:
                return None
            settings: dict[str, Any] = json.loads(file.attrs["settings"])
            return settings
    except (OSError, KeyError, ValueError, TypeError, RuntimeError):
        return None


@contextmanager
def open_rows(path: Path, kind: str) -> Iterator[h5py.File]:
    """A finished file for reading.

    Raises:
        CadeError: it is missing, something else, or incomplete.
    """
    if not path.exists():
        begun = unfinished_path(path).exists()
        hint = f"; {unfinished_path(path).name} is unfinished: use --resume" if begun else ""
        raise CadeError(f"{path}: no such file{hint}")
    if stored_settings(path, kind) is None:
        raise CadeError(f"{path}: damaged, or no {kind}; make one with cade simulate")
    with h5py.File(path, "r") as file:
        _check_complete(path, file)
        yield file


def _check_complete(path: Path, file: h5py.File) -> None:
    flags: list[NDArray[np.uint8]] = []

    def collect(name: str, item: object) -> None:
        if name.rpartition("/")[2] == WRITTEN and isinstance(item, h5py.Dataset):
            flags.append(item[()])

    file.visititems(collect)
    every = np.concatenate(flags) if flags else np.zeros(1, np.uint8)
    if not every.all():
        raise CadeError(
            f"{path}: incomplete, {np.count_nonzero(every)} of {every.size} rows; "
            "finish it with --resume"
        )
