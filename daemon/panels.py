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
_CANVAS_PX = (1400, 2000)
"""Height and width of the largest picture."""
_LEAST_WIDTH_PX = 160
"""Of the words and the colour bar of a panel."""
_ENLARGED_PX = 640
"""Small frames are enlarged until their longer side is this long."""
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


@dataclass(frozen=True, slots=True)
class Layout:
    """How panels are put on a picture: `size` `(width, height)` of each field in px."""

    columns: int
    size: tuple[int, int]

    @property
    def cell(self) -> tuple[int, int]:
        """`(width, height)` with title, colour bar and gap."""
        width = max(self.size[0], _LEAST_WIDTH_PX)
        return width + _GAP_PX, self.size[1] + _TITLE_PX + _BAR_PX + _GAP_PX


def choose_layout(shape: tuple[int, int], count: int) -> Layout:
    """The layout with the largest panels: wide frames `(H, W)` below each other, tall ones beside.

    Among equals the one with the fewest empty places is taken, then the widest.
    """
    height, width = shape

    def scale(columns: int) -> float:
        rows = -(-count // columns)
        free_h = _CANVAS_PX[0] / rows - _TITLE_PX - _BAR_PX - _GAP_PX
        free_w = _CANVAS_PX[1] / columns - _GAP_PX
        return min(free_h / height, free_w / width, max(1.0, _ENLARGED_PX / max(shape)))

    columns = max(range(1, count + 1), key=lambda c: (round(scale(c), 3), -(-count % c), c))
    factor = scale(columns)
    return Layout(columns, (max(1, int(width * factor)), max(1, int(height * factor))))


def draw_panels(panels: Sequence[Panel]) -> Image.Image:
    """The panels, all of the first one's shape, on one picture."""
    height, width = panels[0].image.shape
    layout = choose_layout((height, width), len(panels))
    columns, (cell_w, cell_h) = layout.columns, layout.cell
    rows = -(-len(panels) // columns)
    canvas = Image.new("RGB", (columns * cell_w + _GAP_PX, rows * cell_h + _GAP_PX), "white")
    for index, panel in enumerate(panels):
        corner = (_GAP_PX + index % columns * cell_w, _GAP_PX + index // columns * cell_h)
        _draw_panel(canvas, corner, panel, layout)
    return canvas


def _draw_panel(canvas: Image.Image, corner: tuple[int, int], panel: Panel, layout: Layout) -> None:
    (left, top), bar_w = corner, layout.cell[0] - _GAP_PX
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    draw.text((left, top), panel.title, fill="black", font=font)
    limits = panel.limits or colour_limits(panel.image, panel.colours)
    picture = Image.fromarray(coloured(panel.image, panel.colours, limits))
    shrinks = layout.size[0] < picture.width
    picture = picture.resize(
        layout.size, Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    )
    canvas.paste(picture, (left, top + _TITLE_PX))
    bar_top = top + _TITLE_PX + picture.height + 4
    ramp = np.linspace(*limits, bar_w)[None, :].repeat(8, axis=0)
    canvas.paste(Image.fromarray(coloured(ramp, panel.colours, limits)), (left, bar_top))
    right = left + bar_w
    draw.text((left, bar_top + 10), f"{limits[0]:.3g}", fill="black", font=font)
    draw.text((right, bar_top + 10), f"{limits[1]:.3g} {panel.unit}".strip(), fill="black",
              font=font, anchor="ra")  # fmt: skip
