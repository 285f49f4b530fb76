"""The results section as one HTML file that needs nothing but itself."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from models.evaluation import paper
from models.evaluation.outcome import Row
from models.evaluation.verdict import Comparison, Results, equal_resolution, sentences

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
figure { margin: 1rem 0; padding: .6rem; background: #fff; border-radius: .4rem; }
figure img { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
th { background: var(--soft); } .behind { font-weight: 600; color: #c4432b; }
footer { margin-top: 3rem; font-size: .8rem; opacity: .8; overflow-wrap: anywhere; }
"""
_SECTIONS = (
    ("shifts", "Accuracy", "accuracy",
     "Constant shifts along x. RMSE (eq. 5) and bias |mean(u) − u_true| over all valid pixels; the "
     "relative bias is eq. 4, undefined at zero."),
    ("star", "Spatial resolution", "star",
     "Star map uy = 0.5·cos(2π(y − yc)/λ(x)), speckle of 4 px, visibility 0.3, N0 = 1e4. The "
     "resolution is the period at which 10 % is missing on the symmetry row of the mean map, by a "
     "monotonic fit; the last bias is the longest period at which the row is off by more than 10 % "
     "in either direction, noise and speckle included."),
    ("noise", "Noise", "noise",
     "A shift of 0.3 px, and random maps with nodes every 32 px beside the limit. 0 % stands for "
     "1e8 counts a pixel."),
    ("windows", "Window size", "windows",
     "Noise against resolution. The network has no window: row 0, and horizontal lines."),
    ("run_time", "Run time", "run_time",
     "The fastest of the repetitions. Busy is CPU time of all threads on a CPU, elapsed time on "
     "a GPU; both include the way to the device and back."),
    ("patches", "Random deformations", "random_maps",
     "Mean end-point error (eq. 1) per patch size on unseen patterns. The limit is the linearised "
     "Bayesian bound, computed on the same patterns; it knows patch size and transmission."),
    ("sine", "Sine phantom", "sine",
     "Frames by wave propagation through diffuser, alumina phantom and free space, N0 = 1e4; "
     "errors over the base of the phantom."),
    ("reach", "Shifts of the whole frame", "",
     "As drift makes them: end-point error where both frames show the same speckle. Conventional "
     "trackers find nothing beyond their search range, and say so."),
    ("coverage", "Sigma", "",
     "Share of the truth within one and two claimed standard deviations; of a normal distribution "
     "68.3 % and 95.4 %."),
    ("pair", "The given pair", "",
     "Where no truth is given, differences to zncc and umpa at window 25, and the spread of the "
     "displacement in the region without sample, are proxies; they contain the yardstick's own "
     "error."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page shows; `about` are name and value, such as device and light."""

    title: str
    results: Results
    networks: Sequence[str]
    comparisons: Sequence[Comparison]
    figures: Mapping[str, bytes]
    about: Mapping[str, str]


def html_page(report: Report) -> str:
    """The page; figures are inlined, no other host is asked for anything."""
    parts = [_summary(report), _paper(report)]
    parts += [_section(report, *section) for section in _SECTIONS]
    about = "<br>".join(f"{_text(k)}: {_text(v)}" for k, v in report.about.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(report.title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_text(report.title)}</h1>{''.join(parts)}<footer>{about}</footer></body></html>\n"
    )


def formatted(value: Any) -> str:
    """A value of a table, for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _summary(report: Report) -> str:
    if not report.comparisons:
        return ""
    said = sentences(report.comparisons)
    items = "".join(
        f'<li class="behind">{_text(s)}</li>' if "NOT ahead" in s else f"<li>{_text(s)}</li>"
        for s in said
    )
    equal = "".join(
        f"<li>{_text(s)}</li>" for s in equal_resolution(report.results, report.networks)
    )
    behind = sum(not c.ahead for c in report.comparisons)
    return (
        f"<h2>Network against conventional trackers</h2><p>Of {len(report.comparisons)} numbers "
        f"that both have, the network is ahead in {len(report.comparisons) - behind} and not ahead "
        f"in {behind}. Windows up to 25 px are compared.</p><ul>{items}</ul>"
        + (f"<h3>At equal resolution</h3><ul>{equal}</ul>" if equal else "")
    )


def _paper(report: Report) -> str:
    """Our numbers beside those of the paper, where both are there."""
    rows = []
    for label, tables in report.results.items():
        name = "cade" if label in report.networks else label.split()[0]
        for star in tables.get("star", ()):
            ours = (
                f"{star.resolution_px:.1f}" if star.reached else f"above {star.resolution_px:.0f}"
            )
            rows.append((label, "star map, resolution [px]", ours, paper.STAR_PX.get(name)))
            strict = f"{star.last_bias_px:.1f}"
            rows.append((label, "star map, last bias above 10 % [px]", strict, None))
        for sine in tables.get("sine", ()):
            ours = f"{sine.rmse_px:.4f}"
            rows.append((label, "sine phantom, RMSE [px]", ours, paper.SINE_PX.get(name)))
        patches = tables.get("patches", ())
        if patches:
            ours = f"{sum(r.epe_px for r in patches) / len(patches):.4f}"
            said = paper.EPE_PX if name == "cade" else None
            rows.append((label, "random deformations, mean EPE [px]", ours, said))
            limit = f"{sum(r.limit_px for r in patches) / len(patches):.4f}"
            rows.append((label, "the limit of the same pairs [px]", limit, None))
    if not rows:
        return ""
    body = "".join(
        f"<tr>{_cells((a, b, c, '–' if d is None else f'{d:g}'))}</tr>" for a, b, c, d in rows
    )
    return (
        "<h2>Beside the paper</h2><p>The paper's 0.113 px was measured on patterns that its "
        "network had been trained on, and it names no photon count; ours are unseen patterns at "
        "the light stated below.</p><div class='wide'><table><tr><th>tracker</th><th>number</th>"
        f"<th>measured here</th><th>paper</th></tr>{body}</table></div>"
    )


def _section(report: Report, table: str, title: str, figure: str, words: str) -> str:
    rows = [
        (label, row) for label in report.results for row in report.results[label].get(table, ())
    ]
    if not rows:
        return ""
    picture = report.figures.get(figure)
    image = ""
    if picture is not None:
        data = base64.b64encode(picture).decode()
        image = f'<figure><img alt="{_text(title)}" src="data:image/png;base64,{data}"></figure>'
    return f"<h2>{_text(title)}</h2><p>{_text(words)}</p>{image}{_table(rows)}"


def _table(rows: Sequence[tuple[str, Row]]) -> str:
    names = [f.name for f in fields(rows[0][1])]
    head = "".join(f"<th>{_text(n.replace('_', ' '))}</th>" for n in ("tracker", *names))
    body = "".join(
        f"<tr>{_cells((label, *(formatted(getattr(row, n)) for n in names)))}</tr>"
        for label, row in rows
    )
    return f"<div class='wide'><table><tr>{head}</tr>{body}</table></div>"


def _cells(values: Sequence[str]) -> str:
    return "".join(f"<td>{_text(value)}</td>" for value in values)


def _text(words: str) -> str:
    return html.escape(words)
