"""Window sums of a sample with a reference that is moved by the shifts around a whole one.

A cubic spline I(x − u) = Σ c(x − k)·β(k − u) is linear in its coefficients c. So the sums over a
window of c(x − k) times the sample, for the shifts k around a whole one, hold the window sum of the
sample times the *interpolated* reference for every u near it, exactly.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from cade.interpolation import spline_coefficients
from models.tiling import Tile
from models.windows import WindowSums

NEAR = 2
"""Shifts to each side of the whole one: what the spline needs for u within ±1 px of it."""
SIDE = 2 * NEAR + 1
MAPS = 5
"""Of a reference m + v of mean m and speckle v: m·s, v·s, m², m·v, v²; of m less one and of s."""


def reference_splines(mean: torch.Tensor, rest: torch.Tensor, border: int) -> torch.Tensor:
    """Coefficients `(N, P, 5, H + 2 border, W + 2 border)` of what is summed.

    Args:
        mean: of the reference, less one, `(N, P, H, W)`.
        rest: what is left of the reference.
        border: pixels around the frame, which repeat its border.
    """
    images = torch.stack([mean, rest, mean * (2 + mean), rest * (1 + mean), rest.square()], dim=2)
    padded = functional.pad(images.flatten(0, 1), (border,) * 4, mode="replicate")
    coefficients = spline_coefficients(padded.flatten(0, 1))
    return coefficients.reshape(*images.shape[:3], *padded.shape[-2:])


def lag_sums(
    splines: torch.Tensor,
    sample: torch.Tensor,
    weight: torch.Tensor,
    shift: torch.Tensor,
    sums: WindowSums,
    tile: Tile,
) -> torch.Tensor:
    """Sums `(5, 5, 5, pixels)`: by rows and columns around the whole shift, then by map.

    Args:
        splines: from `reference_splines`; their border is that of the range, and 3 px.
        sample: `(N, P, H, W)` times `weight`.
        weight: 1 where a pixel of the sample counts.
        shift: whole pixels `(N, 2, H, W)`, x and y.
        sums: of the window on `tile`.
        tile: whose pixels are wanted, those of all N one after another.
    """
    right, down = (s.reshape(-1) for s in shift[..., *tile.keep].unbind(1))
    found = sample.new_empty((SIDE * SIDE + 1, MAPS, len(right)))
    factors = sample[..., *tile.read][:, :, None], weight[..., *tile.read][:, :, None]
    border = (splines.shape[-1] - sample.shape[-1]) // 2
    rows, columns = (slice(p.start + border, p.stop + border) for p in tile.read)
    across = range(int(right.min()) - NEAR, int(right.max()) + NEAR + 1)
    for y in range(int(down.min()) - NEAR, int(down.max()) + NEAR + 1):
        part = splines[..., rows.start - y : rows.stop - y, :]
        products = torch.stack(
            [_products(part[..., columns.start - x : columns.stop - x], *factors) for x in across]
        )
        totals = sums(products).transpose(1, 2).reshape(len(across), MAPS, -1)
        row = y - down + NEAR
        for x, total in zip(across, totals, strict=True):
            column = x - right + NEAR
            wanted = (row >= 0) & (row < SIDE) & (column >= 0) & (column < SIDE)
            place = torch.where(wanted, row * SIDE + column, SIDE * SIDE)  # the last is for waste
            found.scatter_(0, place[None, None].expand(1, MAPS, -1), total[None])
    return found[:-1].reshape(SIDE, SIDE, MAPS, -1)


def _products(part: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`(N, 5, h, w)`, summed over positions."""
    if part.shape[1] == 1:
        part, sample, weight = part[:, 0], sample[:, 0], weight[:, 0]
        return torch.cat([part[:, :2] * sample, part[:, 2:] * weight], dim=1)
    return torch.cat([(part[:, :, :2] * sample).sum(1), (part[:, :, 2:] * weight).sum(1)], dim=1)
