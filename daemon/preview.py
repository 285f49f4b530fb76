"""`--preview`: one row of a result file as a picture."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from cade.errors import CadeError, UsageError
from cade.frames import Image
from daemon.panels import Colours, Panel, draw_panels

_FIELDS: tuple[tuple[str, str, str, Colours], ...] = (
    ("displacement/x", "displacement x", "px", "diverging"),
    ("displacement/y", "displacement y", "px", "diverging"),
    ("transmission/transmission", "transmission", "", "sequential"),
    ("dark_field/dark_field", "dark field", "", "sequential"),
    ("refraction/x", "refraction x", "rad", "diverging"),
    ("refraction/y", "refraction y", "rad", "diverging"),
    ("phase/phase", "phase", "rad", "sequential"),
)


def check_preview(path: Path) -> None:
    """Refuse a picture that could not be written, before any work is done.

    Raises:
        UsageError: another ending than .png, or no such folder.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"--preview {path}: must end in .png")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"--preview {path}: there is no folder {path.parent}")


def result_panels(result: Path, row: int) -> list[Panel]:
    """The fields that a result file has, as panels."""
    import hdf5plugin  # noqa: F401 - registers the bitshuffle filter

    with h5py.File(result, "r") as file:
        entry = file["entry"]
        return [
            Panel(title, entry[name][row], unit, colours)
            for name, title, unit, colours in _FIELDS
            if name in entry
        ]


def save_picture(panels: list[Panel], path: Path) -> None:
    """Write panels as PNG.

    Raises:
        CadeError: the file cannot be written.
    """
    try:
        draw_panels(panels).save(path)
    except OSError as error:
        raise CadeError(f"{path}: the picture cannot be written ({error.strerror})") from error


def save_preview(result: Path, path: Path, *, sample: Image) -> None:
    """The first row of `result` beside its sample frame `(H, W)`."""
    frame = np.asarray(sample, float)
    save_picture([Panel("sample", frame, "counts", "grey"), *result_panels(result, 0)], path)
