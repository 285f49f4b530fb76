"""Weighted sums over the window around every pixel, by rows and columns."""

from __future__ import annotations

import torch

from cade.errors import UsageError
from models.tiling import Tile

WINDOWS = ("hann", "box")


def window_taps(kind: str, side: int) -> torch.Tensor:
    """Weights along one side of a window, which sum to one; it is their product over rows, columns.

    Raises:
        UsageError: an unknown kind.
    """
    if kind == "hann":
        taps = torch.hann_window(side + 2, periodic=False, dtype=torch.float64)[1:-1]
    elif kind == "box":
        taps = torch.ones(side, dtype=torch.float64)
    else:
        raise UsageError(f"unknown window {kind!r}; known are {', '.join(WINDOWS)}")
    return (taps / taps.sum()).float()


def check_window(tracker: str, side: int, shape: tuple[int, int] | None = None) -> None:
    """Refuse a window that has no centre, or that is larger than the frame.

    Raises:
        UsageError: naming the tracker and the window.
    """
    if side < 3 or side % 2 == 0:
        raise UsageError(f"{tracker}: the window must be odd and at least 3 px, not {side}")
    if shape is not None and min(shape) < side:
        raise UsageError(
            f"{tracker}: window {side} is larger than the frame, {shape[0]} x {shape[1]} px"
        )


class WindowSums:
    """Sums for the pixels of one tile, over the part of the window that is in the frame.

    As products with two banded matrices: whatever its taps, on tiles of a hundred pixels a window
    then costs less than adding up shifted images, and far less than a convolution.

    Args:
        taps: from `window_taps`.
        tile: `read` holds the windows of all pixels of `keep`, as far as they are in the frame.
    """

    def __init__(self, taps: torch.Tensor, tile: Tile) -> None:
        self._rows = _band(taps, tile.read[0], tile.keep[0])
        self._columns = _band(taps, tile.read[1], tile.keep[1]).T.contiguous()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Sums `(..., h, w)`, of the size of `keep`, of images of the size of `read`."""
        return torch.matmul(self._rows, torch.matmul(images, self._columns))


def _band(taps: torch.Tensor, read: slice, keep: slice) -> torch.Tensor:
    """What pixels `read` count in the windows around pixels `keep`, `(keep, read)`."""
    from_, to = (
        torch.arange(part.start, part.stop, device=taps.device)[:, None] for part in (read, keep)
    )
    place = from_.T - to + len(taps) // 2
    inside = (place >= 0) & (place < len(taps))
    return torch.where(inside, taps[place.clamp(0, len(taps) - 1)], 0.0)
