"""Contact sheets: what is in a set of patterns or pairs, at one glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from simulator.deformation import PATCHES_PX
from simulator.detector import HALF_PIXELS
from simulator.pair_set import PairSet
from simulator.pattern_set import read_pattern, read_table

TILE_PX = 128
"""One sample or pixel is one pixel of the picture, so that speckle sizes can be compared."""
_CAPTION_PX, _GAP_PX, _FONT_PX = 18, 6, 12
_MOST_PATTERNS, _COLUMNS = 48, 8
_RED, _BLUE = (178, 24, 43), (33, 102, 172)

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One picture: `image` `(H, W)`, black at `low`, white at `high`; `signed` is blue to red."""

    caption: str
    image: Values
    low: float
    high: float
    signed: bool = False


def pattern_sheet(path: Path, pixel_size_m: float) -> Image.Image:
    """Patterns of a set from the finest to the coarsest, each with its FWHM and visibility.

    All are in grey from zero to twice the mean. Of a large set it shows 48, evenly spread.
    """
    table = read_table(path)
    order = np.argsort(table["speckle_fwhm"])
    count = min(_MOST_PATTERNS, len(order))
    tiles = []
    for index in order[np.linspace(0, len(order) - 1, count).astype(int)]:
        fwhm_px = float(table["speckle_fwhm"][index])
        size_um = fwhm_px * pixel_size_m * 1e6
        # Pillow's own font has no µ.
        caption = f"{fwhm_px:.1f} px {size_um:.0f} um {table['visibility'][index]:.0%}"
        pixels = read_pattern(path, int(index))[::HALF_PIXELS, ::HALF_PIXELS]
        tiles.append(Tile(caption, pixels.numpy(), 0.0, 2.0))
    return draw_sheet(tiles, _COLUMNS)


def pair_sheet(pairs: PairSet) -> Image.Image:
    """One pair of a stored set for each patch size: frames, displacement, transmission T."""
    tiles = []
    for patch_px in PATCHES_PX:
        if patch_px not in pairs.patches_px:
            continue
        pair = pairs.read([pairs.patches_px.index(patch_px)])
        ux_px, uy_px = pair.displacement_px[0]
        for name, field, low, high in (
            (f"reference {patch_px} px", pair.reference[0], 0.0, 2.0),
            ("sample", pair.sample[0], 0.0, 2.0),
            ("ux, ±1 px", ux_px, -1.0, 1.0),
            ("uy, ±1 px", uy_px, -1.0, 1.0),
            ("T, 0.4 to 1.1", pair.transmission[0], 0.4, 1.1),
        ):
            tiles.append(Tile(name, _values(field), low, high, signed=low < 0))
    return draw_sheet(tiles, 5)


def draw_sheet(tiles: Sequence[Tile], columns: int) -> Image.Image:
    """The tiles in rows, each cut to 128 px."""
    tallest = min(TILE_PX, max(len(tile.image) for tile in tiles))
    width, height = TILE_PX + _GAP_PX, tallest + _CAPTION_PX + _GAP_PX
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP_PX, rows * height + _GAP_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    for place, tile in enumerate(tiles):
        left, top = _GAP_PX + place % columns * width, _GAP_PX + place // columns * height
        draw.text((left, top), tile.caption, fill="black", font=font)
        sheet.paste(Image.fromarray(_coloured(tile)), (left, top + _CAPTION_PX))
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a PNG that appears under its name when it is complete."""
    partial = path.with_name(path.name + ".part")
    try:
        sheet.save(partial, format="png")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _values(field: torch.Tensor) -> Values:
    values: Values = field.numpy()
    return values


def _coloured(tile: Tile) -> NDArray[np.uint8]:
    """RGB `(h, w, 3)` of the tile's upper left corner."""
    cut = tile.image[:TILE_PX, :TILE_PX]
    share = ((cut - tile.low) / (tile.high - tile.low)).clip(0, 1)
    if not tile.signed:
        grey = np.round(255 * share).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    places = (0.0, 0.5, 1.0)
    channels = [
        np.interp(share, places, (blue, 247, red)) for blue, red in zip(_BLUE, _RED, strict=True)
    ]
    return np.stack(channels, axis=-1).astype(np.uint8)
