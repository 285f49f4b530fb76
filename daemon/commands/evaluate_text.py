"""The tables of `cade evaluate` for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from models.evaluation import mean_ratio
from models.evaluation.outcome import ROWS, Row
from models.evaluation.report import formatted
from models.evaluation.verdict import Results

PROFILES = ("star_profile", "sine_profile")
"""Tables with a row for every column of a map: for files and figures, not for people."""
_WORDS = {"focused": "patches, pairs that carry det(1 − ∇u)"}


def text_tables(results: Results) -> str:
    """Every table with the rows of all trackers below each other."""
    parts = []
    for name in (name for name in ROWS if name not in PROFILES):
        rows = [(label, row) for label, tables in results.items() for row in tables.get(name, ())]
        if rows:
            parts.append(_table(_WORDS.get(name, name.replace("_", " ")), rows))
    parts += [_ratios(label, tables) for label, tables in results.items() if tables.get("patches")]
    return "\n".join(parts)


def _table(title: str, rows: Sequence[tuple[str, Row]]) -> str:
    names = [f.name for f in fields(rows[0][1])]
    lines = [["tracker", *names]]
    lines += [[label, *(formatted(getattr(row, n)) for n in names)] for label, row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    body = "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in _rest(line, widths))])
        for line in lines
    )
    return f"{title}\n{body}\n"


def _rest(line: Sequence[str], widths: Sequence[int]) -> list[tuple[str, int]]:
    return list(zip(line[1:], widths[1:], strict=True))


def _ratios(label: str, tables: Mapping[str, Sequence[Row]]) -> str:
    whole, focused = (mean_ratio(list(tables[name])) for name in ("patches", "focused"))
    return (
        f"{label}: mean EPE over mean limit {whole:.2f}; "
        f"where pairs carry det(1 − ∇u) {focused:.2f}\n"
    )
