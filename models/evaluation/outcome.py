"""What a study found: tables of frozen rows, and pictures; and how they are kept on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cade.errors import CadeError
from models.evaluation.coverage import CoverageRow
from models.evaluation.noise import NoiseRow
from models.evaluation.pair import PairRow
from models.evaluation.patches import PatchRow
from models.evaluation.phantom import SineProfileRow, SineRow
from models.evaluation.run_time import RunTimeRow
from models.evaluation.shifts import ReachRow, ShiftRow
from models.evaluation.star import StarProfileRow, StarRow
from models.evaluation.window_sizes import WindowRow

ROWS: dict[str, type[Any]] = {
    "shifts": ShiftRow,
    "patches": PatchRow,
    "focused": PatchRow,
    "star": StarRow,
    "star_profile": StarProfileRow,
    "noise": NoiseRow,
    "windows": WindowRow,
    "run_time": RunTimeRow,
    "sine": SineRow,
    "sine_profile": SineProfileRow,
    "reach": ReachRow,
    "coverage": CoverageRow,
    "pair": PairRow,
}
"""The tables by name, in the order in which they are written."""
Row = Any
"""One of `ROWS`: a frozen dataclass of numbers and words."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Tables, and fields `(H, W)` for figures, by name."""

    tables: dict[str, Sequence[Row]]
    images: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def as_numbers(row: Row) -> dict[str, Any]:
    """A row for JSON, which knows no NaN: null instead."""
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v
        for k, v in dataclasses.asdict(row).items()
    }


def from_numbers(table: str, values: dict[str, Any]) -> Row:
    """The row that `as_numbers` made; its every null was a NaN, unless the row may hold None."""
    kinds = {f.name: str(f.type) for f in dataclasses.fields(ROWS[table])}
    filled = {k: math.nan if v is None and kinds[k] == "float" else v for k, v in values.items()}
    return ROWS[table](**filled)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Keeps finished outcomes in a folder, under a hash of everything that they depend on."""

    folder: Path

    def take(self, inputs: object) -> Outcome | None:
        """What was kept for these inputs, None if nothing or nothing readable was."""
        path = self.folder / f"{hash_of(inputs)}.json"
        try:
            tables = json.loads(path.read_text())["tables"]
            images = path.with_suffix(".npz")
            return Outcome(
                {name: [from_numbers(name, row) for row in rows] for name, rows in tables.items()},
                dict(np.load(images, allow_pickle=False)) if images.exists() else {},
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def keep(self, inputs: object, outcome: Outcome) -> None:
        """Raises CadeError: it cannot be written."""
        path = self.folder / f"{hash_of(inputs)}.json"
        tables = {n: [as_numbers(row) for row in rows] for n, rows in outcome.tables.items()}
        text = json.dumps({"inputs": repr(inputs), "tables": tables}, indent=1)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if outcome.images:
                np.savez_compressed(path.with_suffix(".npz"), **outcome.images)  # type: ignore[arg-type]
            partial = path.with_suffix(".part")
            partial.write_text(text)
            partial.replace(path)  # last: what has a name is complete
        except OSError as error:
            raise CadeError(f"{path}: cannot be written ({error.strerror})") from None


def hash_of(inputs: object) -> str:
    """Of their `repr` and of the program, whose every change may change a result."""
    return hashlib.sha256(f"{program_hash()} {inputs!r}".encode()).hexdigest()[:16]


@cache
def program_hash() -> str:
    """Of the sources of trackers, simulator and physics."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for package in ("cade", "models", "simulator"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
