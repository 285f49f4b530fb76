"""Pictures of fields: labelled panels with colour bars, in one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colours = Literal["grey", "sequential", "diverging"]

# Anchors of the colour maps, RGB from low to high; between them colours are interpolated.
_MAPS: dict[Colours, tuple[tuple[int, int, int], ...]] = {
    "grey": ((0, 0, 0), (255, 255, 255)),
    "sequential": ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)),
    "diverging": ((33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43)),
}
_INVALID = (120, 120, 120)
_TITLE_PX, _BAR_PX, _GAP_PX = 24, 34, 12
_MOST_SIDE_PX = 480
_CUT = (0.5, 99.5)
"""Percentiles between which the colours spread: a few bad pixels must not grey out a picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One field `(H, W)` with its title and unit; `limits` None = from the values."""

    title: str
    image: NDArray[Any]
    unit: str
    colours: Colours = "sequential"
    limits: tuple[float, float] | None = None


def colour_limits(image: NDArray[Any], colours: Colours) -> tuple[float, float]:
    """What the ends of the colour bar stand for; diverging maps are symmetric about zero."""
    values = image[np.isfinite(image)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, _CUT))
    if colours == "diverging":
        high = max(abs(low), abs(high))
        low = -high
    return low, high if high > low else low + 1.0


def coloured(image: NDArray[Any], colours: Colours, limits: tuple[float, float]) -> NDArray[Any]:
    """RGB `(H, W, 3)` uint8 of a field; invalid pixels are grey."""
    anchors = np.array(_MAPS[colours], float)
    low, high = limits
    position = np.nan_to_num((image - low) / (high - low)).clip(0, 1) * (len(anchors) - 1)
    places = np.arange(len(anchors))
    rgb = np.stack([np.interp(position, places, anchors[:, c]) for c in range(3)], axis=-1)
    rgb[~np.isfinite(image)] = _INVALID
    return rgb.astype(np.uint8)


def draw_panels(panels: Sequence[Panel], columns: int) -> Image.Image:
    """The panels side by side, `columns` in a row, all of one size."""
    height, width = panels[0].image.shape
    shrink = max(1, -(-max(height, width) // _MOST_SIDE_PX))
    cell_w = -(-width // shrink) + _GAP_PX
    cell_h = -(-height // shrink) + _TITLE_PX + _BAR_PX + _GAP_PX
    rows = -(-len(panels) // columns)
    canvas = Image.new("RGB", (columns * cell_w + _GAP_PX, rows * cell_h + _GAP_PX), "white")
    for index, panel in enumerate(panels):
        corner = (_GAP_PX + index % columns * cell_w, _GAP_PX + index // columns * cell_h)
        _draw_panel(canvas, corner, panel, shrink)
    return canvas


def _draw_panel(canvas: Image.Image, corner: tuple[int, int], panel: Panel, shrink: int) -> None:
    left, top = corner
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    draw.text((left, top), panel.title, fill="black", font=font)
    limits = panel.limits or colour_limits(panel.image, panel.colours)
    picture = Image.fromarray(coloured(panel.image[::shrink, ::shrink], panel.colours, limits))
    canvas.paste(picture, (left, top + _TITLE_PX))
    bar_top = top + _TITLE_PX + picture.height + 4
    ramp = np.linspace(*limits, picture.width)[None, :].repeat(8, axis=0)
    canvas.paste(Image.fromarray(coloured(ramp, panel.colours, limits)), (left, bar_top))
    right = left + picture.width
    draw.text((left, bar_top + 10), f"{limits[0]:.3g}", fill="black", font=font)
    draw.text((right, bar_top + 10), f"{limits[1]:.3g} {panel.unit}".strip(), fill="black",
              font=font, anchor="ra")  # fmt: skip
