"""The whole-pixel shift of every window: the best of all within a range."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from cade.errors import UsageError
from models.local_contrast import window_sums, window_tiles
from models.tiling import Tile
from models.windows import WindowSums

_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class IntegerShift:
    """`px` `(N, 2, H, W)` int64, x and y. `inside` `(N, H, W)`: not at the end of the range."""

    px: torch.Tensor
    inside: torch.Tensor


def search(
    reference: torch.Tensor, sample: torch.Tensor, taps: torch.Tensor, search_px: int
) -> IntegerShift:
    """Where within ±`search_px` windows of `sample` correlate best with `reference`.

    Only the best so far is kept, so memory does not grow with the range.

    Args:
        reference: `(N, P, H, W)` less its local mean, zero where unknown. Positions add up.
        sample: likewise.
        taps: of the window.
        search_px: largest shift along x and along y.
    """
    count, _, height, width = sample.shape
    scale = window_sums(reference.square().sum(1), taps).clamp(min=_TINY).rsqrt()
    scale = functional.pad(scale, (search_px,) * 4, mode="replicate")
    padded = functional.pad(reference, (search_px,) * 4)
    side = 2 * search_px + 1
    best = torch.empty((count, height, width), dtype=torch.long, device=sample.device)
    for tile in window_tiles((int(height), int(width)), taps):
        best[:, *tile.keep] = _best(padded, scale, sample, tile, WindowSums(taps, tile), search_px)
    row, column = best // side, best % side
    ends = ((row == 0) | (row == side - 1) | (column == 0) | (column == side - 1)).logical_not()
    return IntegerShift(torch.stack([column, row], dim=1) - search_px, ends)


def check_search(tracker: str, search_px: int) -> None:
    """Refuse a range without a shift.

    Raises:
        UsageError: naming the tracker and the range.
    """
    if search_px < 1:
        raise UsageError(f"{tracker}: the search range must be at least 1 px, not {search_px}")


def shows_source(shift: torch.Tensor) -> torch.Tensor:
    """Whether x − shift(x) is in the frame, `(N, H, W)` bool, of whole shifts `(N, 2, H, W)`."""
    height, width = shift.shape[-2:]
    row = torch.arange(height, device=shift.device)[:, None] - shift[:, 1]
    column = torch.arange(width, device=shift.device)[None, :] - shift[:, 0]
    return (row >= 0) & (row < height) & (column >= 0) & (column < width)


def _best(
    reference: torch.Tensor,
    scale: torch.Tensor,
    sample: torch.Tensor,
    tile: Tile,
    sums: WindowSums,
    reach: int,
) -> torch.Tensor:
    """Index `(N, h, w)` of the best shift, counted by rows, of a tile."""
    side = 2 * reach + 1
    pixels = sample[..., *tile.read]
    rows, columns = tile.keep
    shape = (len(sample), rows.stop - rows.start, columns.stop - columns.start)
    best = torch.zeros(shape, dtype=torch.long, device=sample.device)
    score = sample.new_full(shape, -torch.inf)
    for row in range(side):
        down = 2 * reach - row
        products = torch.stack(
            [
                (reference[..., *_moved(tile.read, down, 2 * reach - column)] * pixels).sum(1)
                for column in range(side)
            ]
        )
        scores = sums(products)
        for column in range(side):
            scores[column] *= scale[..., *_moved(tile.keep, down, 2 * reach - column)]
        highest, index = scores.max(dim=0)
        best = torch.where(highest > score, index + row * side, best)
        score = torch.maximum(highest, score)
    return best


def _moved(part: tuple[slice, slice], down: int, right: int) -> tuple[slice, slice]:
    rows, columns = part
    return (
        slice(rows.start + down, rows.stop + down),
        slice(columns.start + right, columns.stop + right),
    )
