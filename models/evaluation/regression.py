"""Numbers of an evaluation that must not get worse, and the comparison with stored ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cade.errors import CadeError, UsageError
from models.evaluation.outcome import Row
from models.evaluation.verdict import Results

LEAST_ERROR = 0.02
"""Relative: processors and libraries differ that much where patterns happen to agree."""


@dataclass(frozen=True, slots=True)
class Number:
    """One number, the smaller the better, with its standard error over the patterns."""

    tracker: str
    name: str
    value: float
    error: float


@dataclass(frozen=True, slots=True)
class _Column:
    """Of which row of a table `value` is taken, and where its error is."""

    table: str
    value: str
    error: str
    where: Callable[[Row], str]


_COLUMNS = (
    _Column("shifts", "rmse_px", "rmse_error_px", lambda r: f"{r.shift_px:g}"),
    _Column("patches", "epe_px", "epe_error_px", lambda r: f"{r.patch_px}"),
    _Column("noise", "rmse_px", "rmse_error_px", lambda r: f"{r.noise:g}"),
    _Column("noise", "epe_px", "epe_error_px", lambda r: f"{r.noise:g}"),
    _Column("windows", "rmse_px", "rmse_error_px", lambda r: f"{r.window_px}"),
    _Column("windows", "epe_px", "epe_error_px", lambda r: f"{r.window_px}"),
    _Column("windows", "resolution_px", "resolution_error_px", lambda r: f"{r.window_px}"),
    _Column("star", "resolution_px", "resolution_error_px", lambda _: "all"),
    _Column("sine", "rmse_px", "rmse_error_px", lambda _: "all"),
)


def numbers(results: Results) -> list[Number]:
    """All that are compared; run times are not, they belong to a machine."""
    return [number for label, tables in results.items() for number in _of(label, tables)]


def _of(label: str, tables: Any) -> Iterator[Number]:
    for column in _COLUMNS:
        for row in tables.get(column.table, ()):
            value, error = getattr(row, column.value), getattr(row, column.error)
            error = max(LEAST_ERROR * value, 0.0 if math.isnan(error) else error)
            yield Number(label, f"{column.table}/{column.where(row)}/{column.value}", value, error)


def store_numbers(path: Path, found: list[Number], settings: dict[str, Any]) -> None:
    """Write numbers with a digest, by which an edited number shows.

    Raises:
        CadeError: the file cannot be written.
    """
    content = {"settings": settings, "numbers": [asdict(n) for n in found]}
    text = json.dumps({"sha256": _digest(content)} | content, indent=1)
    try:
        path.write_text(text + "\n")
    except OSError as error:
        raise CadeError(f"{path}: cannot be written ({error.strerror})") from None


def stored_numbers(path: Path) -> tuple[list[Number], dict[str, Any]]:
    """Numbers and the settings that they were measured with.

    Raises:
        UsageError: not such a file.
        CadeError: a number was changed by hand.
    """
    try:
        content = json.loads(path.read_text())
        said = content.pop("sha256")
        found = [Number(**n) for n in content["numbers"]]
        settings: dict[str, Any] = content["settings"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{path}: holds no stored numbers ({error})") from None
    if _digest(content) != said:
        raise CadeError(
            f"{path}: a number was changed by hand; write the file with 'cade evaluate "
            f"--store-numbers'"
        )
    return found, settings


def worse(found: list[Number], stored: list[Number]) -> list[str]:
    """What is worse than stored by more than its statistical error, a sentence each.

    Of stored numbers that were not measured, nothing is said: a part of an evaluation is compared
    with the whole. NaN is worse than any number.
    """
    before = {(n.tracker, n.name): n for n in stored}
    return [
        f"{n.tracker}: {n.name} is {n.value:.5g}, stored is {known.value:.5g} ± {known.error:.2g}"
        for n in found
        if (known := before.get((n.tracker, n.name))) and not n.value <= known.value + known.error
    ]


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
