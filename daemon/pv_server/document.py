"""The list of the PVs as Markdown, the text of docs/pvs.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from daemon.pv_server.records import ANSWERS, COMMANDS, RECORD_TYPES, STATUS, TEXT_BYTES, Record

_INTRODUCTION = f"""\
# Process variables

Served by Channel Access where `epics_server.prefix` is set, here `BL01:CADE`;
[operating](operating.md) says how. This list is made by `cade config pvs`. Texts are waveforms of
characters, up to {TEXT_BYTES - 1} bytes (`caget -S`, Phoebus' format *String*). Everything but the
commands is read-only, fields included.
"""


def markdown(prefix: str = "BL01:CADE") -> str:
    """The list for PVs of this prefix."""
    sections = (("Status", STATUS), ("Answers to commands", ANSWERS), ("Commands", COMMANDS))
    lines = [_INTRODUCTION]
    for title, records in sections:
        lines += [f"## {title}\n", *_table(prefix, records), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(prefix: str, records: Iterable[Record]) -> Iterator[str]:
    yield "| PV | record | unit | meaning |"
    yield "|---|---|---|---|"
    for record in records:
        meaning = "; ".join(filter(None, [record.description, _states(record), record.detail]))
        kind = RECORD_TYPES[record.kind]
        yield f"| `{prefix}:{record.name}` | {kind} | {record.unit} | {meaning} |"


def _states(record: Record) -> str:
    names = (
        name if severity == "NO_ALARM" else f"{name} ({severity})"
        for name, severity in record.states
    )
    return ", ".join(f"{number} {name}" for number, name in enumerate(names))
