"""Figures of an evaluation, each a PNG: panels arranged as those of the paper's results."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.outcome import Row
from models.evaluation.star import AMPLITUDE_PX, BIAS
from models.evaluation.verdict import Results

_DPI = 110
_WIDE = 9.0
_PANEL = 3.6
Images = Mapping[str, Mapping[str, NDArray[np.float32]]]
"""Fields `(H, W)` by name, of every tracker by label."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """One panel: a column of a table against another, for all trackers."""

    table: str
    x: str
    y: str
    words: tuple[str, str]
    error: str = ""
    log: tuple[bool, bool] = (False, False)
    x_scale: float = 1.0


_CURVES: dict[str, tuple[_Curve, ...]] = {
    "accuracy": (
        _Curve("shifts", "shift_px", "rmse_px", ("true shift [px]", "RMSE [px]"), "rmse_error_px"),
        _Curve("shifts", "shift_px", "bias_px", ("true shift [px]", "bias [px]")),
    ),
    "noise": (
        _Curve("noise", "noise", "rmse_px", ("noise [%]", "RMSE of a 0.3-px shift [px]"),
               "rmse_error_px", x_scale=100),
        _Curve("noise", "noise", "epe_px", ("noise [%]", "EPE, random maps of 32 px [px]"),
               "epe_error_px", x_scale=100),
    ),
    "windows": (
        _Curve("windows", "window_px", "rmse_px", ("window [px]", "RMSE of shifts [px]"),
               "rmse_error_px"),
        _Curve("windows", "window_px", "resolution_px", ("window [px]", "star resolution [px]"),
               "resolution_error_px"),
    ),
    "random_maps": (
        _Curve("patches", "patch_px", "epe_px", ("patch [px]", "EPE [px]"), "epe_error_px",
               (True, True)),
        _Curve("patches", "patch_px", "ratio", ("patch [px]", "EPE over the limit"), "",
               (True, True)),
    ),
    "run_time": (
        _Curve("run_time", "side_px", "busy_s",
               ("side of the frames [px]", "CPU or GPU seconds a pair"), "", (True, True)),
        _Curve("run_time", "side_px", "px_per_busy_s",
               ("side of the frames [px]", "px per CPU or GPU second"), "", (True, True)),
    ),
}  # fmt: skip
_LIMITS = {"patches": "limit_px", "noise": "limit_px"}
"""Columns with the limit, drawn beside an EPE."""


def figures(results: Results, images: Images) -> dict[str, bytes]:
    """PNG files by name; only those whose tables are there.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    made = {}
    for name, curves in _CURVES.items():
        if any(results[label].get(curves[0].table) for label in results):
            figure = Figure((_WIDE, _PANEL), layout="constrained")
            axes = figure.subplots(1, 2)
            for axis, curve in zip(axes, curves, strict=True):
                _draw_curve(axis, curve, results)
            axes[0].legend(fontsize="small")
            made[name] = _png(figure)
    for name, draw in (("star", _draw_star), ("sine", _draw_sine)):
        labels = [label for label in results if results[label].get(f"{name}_profile")]
        if labels:
            made[name] = _with_maps(name, labels, results, images, draw)
    return made


def _draw_curve(axis: Any, curve: _Curve, results: Results) -> None:
    drawn: list[Row] = []
    for number, (label, tables) in enumerate(results.items()):
        rows = tables.get(curve.table, ())
        if not rows:
            continue
        drawn = drawn or list(rows)
        x, y = ([getattr(row, key) for row in rows] for key in (curve.x, curve.y))
        error = [getattr(row, curve.error) for row in rows] if curve.error else None
        style = {"color": f"C{number}", "label": label}
        if curve.table == "windows" and x == [0]:
            axis.axhline(y[0], **style)
        else:
            x = [curve.x_scale * value for value in x]
            axis.errorbar(x, y, _finite(error), marker="o", ms=3.5, capsize=2, **style)
    if curve.y == "epe_px" and curve.table in _LIMITS and drawn:
        limit = [getattr(row, _LIMITS[curve.table]) for row in drawn]
        x = [curve.x_scale * getattr(row, curve.x) for row in drawn]
        axis.plot(x, limit, "k--", label="limit")
    if curve.y == "ratio":
        axis.axhline(1, color="k", ls="--")
    if curve.log[0]:
        axis.set_xscale("log", base=2)
        ticks = [getattr(row, curve.x) for row in drawn]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if curve.log[1]:
        axis.set_yscale("log")
    axis.set_xlabel(curve.words[0])
    axis.set_ylabel(curve.words[1])
    axis.grid(alpha=0.3)


def _finite(error: Sequence[float] | None) -> list[float] | None:
    return None if error is None else [0.0 if math.isnan(e) else e for e in error]


def _with_maps(
    name: str,
    labels: list[str],
    results: Results,
    images: Images,
    draw: Callable[[Any, str, Sequence[Row], str], None],
) -> bytes:
    """The true map, that of every tracker below, and the profiles at the bottom."""
    from matplotlib.figure import Figure

    maps = [(label, images[label][name]) for label in labels if name in images.get(label, {})]
    if maps:
        maps.insert(0, ("truth", images[maps[0][0]][f"{name}_truth"]))
    figure = Figure((_WIDE, _PANEL + 1.1 * len(maps)), layout="constrained")
    ratios = [1.0] * len(maps) + [3.3]
    axes = figure.subplots(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
    limit = float(np.nanmax(np.abs(maps[0][1]))) if maps else AMPLITUDE_PX
    for axis, (label, image) in zip(axes, maps, strict=False):
        shown = axis.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
        figure.colorbar(shown, ax=axis, label="px", pad=0.01)
    for number, label in enumerate(labels):
        draw(axes[-1], label, results[label][f"{name}_profile"], f"C{number}")
    axes[-1].legend(fontsize="small")
    axes[-1].grid(alpha=0.3)
    return _png(figure)


def _draw_star(axis: Any, label: str, rows: Sequence[Row], colour: str) -> None:
    axis.plot([r.period_px for r in rows], [r.share for r in rows], color=colour, label=label, lw=1)
    axis.axhline(1 - BIAS, color="k", ls=":")
    axis.set(xlabel="period λ [px]", ylabel="found over true, row of symmetry", ylim=(0, 1.15))


def _draw_sine(axis: Any, label: str, rows: Sequence[Row], colour: str) -> None:
    if not axis.lines:
        truth = [1e6 * r.truth_rad for r in rows]
        axis.plot([r.x_px for r in rows], truth, "k--", label="truth", lw=1)
    found = [1e6 * r.found_rad for r in rows]
    axis.plot([r.x_px for r in rows], found, color=colour, label=label, lw=1)
    axis.set(xlabel="x [px]", ylabel="refraction angle, mean of rows [µrad]")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
