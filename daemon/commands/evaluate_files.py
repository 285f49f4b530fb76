"""What `cade evaluate --output` writes: tables, figures and the report."""

from __future__ import annotations

import csv
import dataclasses
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cade.errors import CadeError
from cade.version import __version__
from daemon.commands.evaluate_run import Measured
from models.evaluation import mean_ratio
from models.evaluation.contenders import Contender
from models.evaluation.figures import figures
from models.evaluation.outcome import ROWS, Row, as_numbers
from models.evaluation.pair import Region
from models.evaluation.report import Report, html_page
from models.evaluation.verdict import comparisons, sentences

_CARD_TABLES = ("patches", "shifts", "reach", "coverage")


@dataclass(frozen=True, slots=True)
class Settings:
    """What all numbers depend on, apart from the trackers."""

    quick: bool
    counts: float
    transmission: float

    def described(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


def card_numbers(tables: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """What the card of weights holds of their tables."""
    rows = {name: [as_numbers(row) for row in tables[name]] for name in _CARD_TABLES}
    ratios = {
        "ratio": mean_ratio(list(tables["patches"])),
        "focused": mean_ratio(list(tables["focused"])),
    }
    return ratios | rows


def write_all(
    folder: Path, found: Sequence[Contender], measured: Measured, settings: Settings
) -> None:
    """`evaluation.json`, a CSV a table, figures as PNG, `report.html`.

    Raises:
        CadeError: the folder cannot be written.
    """
    networks = [c.label for c in found if c.is_cade]
    pictures = _figures(measured)
    compared = comparisons(measured.tables, networks)
    report = Report(
        title="Trackers, against truth, the limit and each other",
        results=measured.tables,
        networks=networks,
        comparisons=compared,
        figures=pictures,
        about=_about(found, settings)
        | ({} if measured.free is None else {"region without sample": region_text(measured.free)}),
    )
    numbers = {
        "settings": settings.described(),
        "trackers": {
            c.label: dataclasses.asdict(c.tracker.provenance)
            | {"device": str(c.tracker.device)}
            | {
                name: [as_numbers(row) for row in rows]
                for name, rows in measured.tables[c.label].items()
            }
            for c in found
        },
        "verdict": sentences(compared),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.json").write_text(json.dumps(numbers, indent=2) + "\n")
        _write_tables(folder, measured)
        for name, png in pictures.items():
            (folder / f"{name}.png").write_bytes(png)
        (folder / "report.html").write_text(html_page(report), encoding="utf-8")
        _write_fields(folder, measured)
    except OSError as error:
        raise CadeError(f"{folder}: cannot be written ({error.strerror})") from None
    sys.stdout.write(f"report  {folder / 'report.html'}\n")


def _write_tables(folder: Path, measured: Measured) -> None:
    """A CSV a table, with the tracker in the first column."""
    for name, kind in ROWS.items():
        rows = [
            {"tracker": label} | dataclasses.asdict(row)
            for label, tables in measured.tables.items()
            for row in tables.get(name, ())
        ]
        if rows:
            with (folder / f"{name}.csv").open("w", newline="") as file:
                names = ["tracker", *(f.name for f in dataclasses.fields(kind))]
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(rows)


def _write_fields(folder: Path, measured: Measured) -> None:
    """The displacement of the user's pair by each tracker, in the keys of `--truth`."""
    for label, images in measured.images.items():
        if "ux_px" in images:
            name = "".join(c if c.isalnum() or c in "-." else "_" for c in label)
            np.savez_compressed(
                folder / f"pair_{name}.npz", ux_px=images["ux_px"], uy_px=images["uy_px"]
            )


def _figures(measured: Measured) -> dict[str, bytes]:
    try:
        return figures(measured.tables, measured.images)
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"cade: no figures, {error.name} is not installed; pip install 'cade-daemon[train]'\n"
        )
        return {}


def region_text(region: Region) -> str:
    """For people."""
    y0, y1, x0, x1 = region
    return f"rows {y0} to {y1 - 1}, columns {x0} to {x1 - 1}"


def _about(found: Sequence[Contender], settings: Settings) -> dict[str, str]:
    lines = {
        "program": f"cade {__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "light of shifts, random maps and windows": f"N0 = {settings.counts:g}, "
        f"T = {settings.transmission:g}",
        "extent": "quick" if settings.quick else "full",
    }
    for c in found:
        p = c.tracker.provenance
        options = ", ".join(f"{k} = {v}" for k, v in p.parameters.items())
        weights = f", weights {p.weights} (SHA-256 {p.weights_sha256})" if p.weights else ""
        lines[c.label] = f"{p.tracker} on {c.tracker.device}: {options}{weights}"
    return lines
