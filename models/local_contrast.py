"""Frames as a local mean and what is left of them, over the windows of a conventional tracker."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from models.tiling import Tile, tiles
from models.windows import WindowSums

CPU_SIDE_PX, GPU_SIDE_PX = 128, 512
"""Sides of the tiles: on a CPU what stays in its cache, on a GPU what keeps it busy."""
_TINY = 1e-6


def window_tiles(shape: tuple[int, int], taps: torch.Tensor) -> list[Tile]:
    """Tiles for `WindowSums`, larger where windows are."""
    side = CPU_SIDE_PX if taps.device.type == "cpu" else GPU_SIDE_PX
    side = max(side, 3 * len(taps))
    return list(tiles(shape, side**2, len(taps) // 2, 1))


def window_sums(images: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Sums around every pixel of whole frames `(..., H, W)`."""
    height, width = images.shape[-2:]
    sums = torch.empty_like(images)
    for tile in window_tiles((int(height), int(width)), taps):
        sums[..., *tile.keep] = WindowSums(taps, tile)(images[..., *tile.read])
    return sums


def split(
    frames: torch.Tensor, weight: torch.Tensor, taps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Local mean less one, and frame less local mean, of frames `(N, P, H, W)` of mean about one.

    Where the weight is 0 nothing is left. Both are small numbers, so that sums keep their digits.
    """
    frames = frames - 1
    mean = window_sums(frames * weight, taps) / window_sums(weight, taps).clamp(min=_TINY)
    return mean, (frames - mean) * weight


def continued(fields: torch.Tensor, weight: torch.Tensor, reach_px: int) -> torch.Tensor:
    """`fields` `(N, P, H, W)` with what has weight 0 filled from the pixels around, so far.

    A spline swings at a step, and two pixels beside it; what goes on smoothly leaves it calm.
    """
    if bool(weight.all()):
        return fields
    fields, known = (image.flatten(0, 1)[:, None] for image in (fields * weight, weight))
    for _ in range(reach_px):
        share = functional.avg_pool2d(known, 3, 1, 1)
        mean = functional.avg_pool2d(fields, 3, 1, 1) / share.clamp(min=_TINY)
        fields = torch.where(known > 0, fields, mean)
        known = (share > 0).to(known.dtype)
    return fields[:, 0].reshape(weight.shape)


def scales(references: torch.Tensor) -> torch.Tensor:
    """The mean of frames `(N, P, H, W)`, `(N, P, 1, 1)`; one where there is no light."""
    mean = references.mean(dim=(-2, -1), keepdim=True)
    return torch.where(mean > math.sqrt(torch.finfo(mean.dtype).tiny), mean, 1.0)


def at_source(fields: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """`fields` `(N, C, H, W)` at x − shift(x), the border outside.

    Args:
        fields: of any kind.
        shift: whole pixels `(N, 2, H, W)`, x and y.
    """
    height, width = fields.shape[-2:]
    row = torch.arange(height, device=shift.device)[:, None] - shift[:, 1]
    column = torch.arange(width, device=shift.device)[None, :] - shift[:, 0]
    place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    flat = place.flatten(1)[:, None].expand(-1, fields.shape[1], -1)
    return fields.flatten(2).gather(2, flat).reshape(fields.shape)
