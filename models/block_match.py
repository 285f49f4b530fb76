"""Where blocks of the sample lie in the reference: normalised correlation by Fourier transforms.

A small block follows a field that varies, a large one is certain where speckles are coarse or
noise is strong. So the correlations of a block, of its surroundings in two sizes, and of the whole
frame are averaged: a shift wins on which they agree, and where all else fails it is the frame's
drift.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from cade.fourier import irfft2, rfft2
from models.correlation_peak import gaussian_peak

RIVAL_PX = 4
"""Nearer to the best shift than this, a second maximum is noise on the same peak."""
WIDENINGS = 2
"""Surroundings of a block that are searched with it: 3×3 blocks, then 5×5."""
LEAST_ENERGY = 1e-2
"""Mean square of a block, of the unit contrast of normalised frames, below which it is empty."""
_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class BlockMatch:
    """The best shift of every block, in px of the images that were compared.

    `shift_px` `(N, 2, h, w)`: x and y, positive = moved right and down. `score` `(N, h, w)`: the
    mean correlation there, `rival` that of the second best shift, elsewhere. `inside`: the peak is
    a maximum, not the end of the range. `filled`: there is speckle in the block.
    """

    shift_px: torch.Tensor
    score: torch.Tensor
    rival: torch.Tensor
    inside: torch.Tensor
    filled: torch.Tensor


def match_blocks(
    reference: torch.Tensor, sample: torch.Tensor, block_px: int, reach_px: int
) -> BlockMatch:
    """Search blocks of `sample` within ±`reach_px` in `reference`, both `(N, H, W)`.

    Frames are normalised, zero where there is nothing to see; beyond the border they are zero.
    """
    height, width = sample.shape[-2:]
    pad = (0, -width % block_px, 0, -height % block_px)
    blocks = _windows(functional.pad(sample, pad), block_px, block_px)
    outside = (reach_px, pad[1] + reach_px, reach_px, pad[3] + reach_px)
    around = functional.pad(reference, outside)
    energy = blocks.square().sum(dim=(-2, -1))
    scores = _scores(blocks, around, energy, reach_px)
    return _best(scores, energy > LEAST_ENERGY * block_px**2)


def _windows(images: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """Square windows `(N, h, w, side, side)` of `(N, H, W)`, every `step` px."""
    return images.unfold(1, side, step).unfold(2, side, step)


def _scores(
    blocks: torch.Tensor, around: torch.Tensor, energy: torch.Tensor, reach_px: int
) -> torch.Tensor:
    """Mean correlation `(N, h, w, 2 reach + 1, 2 reach + 1)`, by rows and columns of the shift."""
    side, count = blocks.shape[-1], 2 * reach_px + 1
    whole = side + 2 * reach_px
    searched = _windows(around, whole, side)
    spectrum = rfft2(searched) * rfft2(functional.pad(blocks, (0, 2 * reach_px) * 2)).conj()
    products = irfft2(spectrum, (whole, whole))[..., :count, :count]
    energies = _windows(_box_sums(around.square(), side), count, side)
    own = energy[..., None, None]
    means = [x.mean(dim=(1, 2), keepdim=True) for x in (products, energies, own)]
    scores = _correlation(products, energies, own, side)
    scores += _correlation(means[0], means[1], means[2], side)
    for _ in range(WIDENINGS):
        products, energies, own = _spread(products), _spread(energies), _spread(own)
        scores += _correlation(products, energies, own, side)
    scores /= WIDENINGS + 2
    return scores.flip(-2, -1)  # the window's place is the opposite of the shift


def _correlation(
    products: torch.Tensor, energies: torch.Tensor, own: torch.Tensor, side: int
) -> torch.Tensor:
    floor = (LEAST_ENERGY * side**2) ** 2
    return products / (own * energies).clamp(min=floor).sqrt()


def _box_sums(images: torch.Tensor, side: int) -> torch.Tensor:
    """Sums over every square of `side` px, a power of two, that is inside `(N, H, W)`."""
    for dim in (-2, -1):
        step = 1
        while step < side:
            length = images.shape[dim] - step
            images = images.narrow(dim, 0, length) + images.narrow(dim, step, length)
            step *= 2
    return images


def _spread(values: torch.Tensor) -> torch.Tensor:
    """Binomial 3×3 sums over neighbouring blocks of `(N, h, w, a, b)`, zero outside."""
    for dim in (1, 2):
        length = values.shape[dim]
        total = 0.5 * values
        if length > 1:
            total.narrow(dim, 1, length - 1).add_(values.narrow(dim, 0, length - 1), alpha=0.25)
            total.narrow(dim, 0, length - 1).add_(values.narrow(dim, 1, length - 1), alpha=0.25)
        values = total
    return values


def _best(scores: torch.Tensor, filled: torch.Tensor) -> BlockMatch:
    count, rows, columns, side, _ = scores.shape
    reach = side // 2
    flat = scores.reshape(count * rows * columns, side, side)
    planes = flat.reshape(-1, side * side)
    score, best = planes.max(dim=1, keepdim=True)
    row, column = best // side, best % side
    inside = (row > 0) & (row < side - 1) & (column > 0) & (column < side - 1)
    peak = row.clamp(1, side - 2) * side + column.clamp(1, side - 2)
    x, y, vertex = gaussian_peak(planes[:, :, None, None], peak[:, :, None, None], side)
    rival = _second_maximum(flat, row, column)
    shape = (count, rows, columns)
    shift = [
        (start + step[:, 0, 0] - reach).reshape(shape) for start, step in ((column, x), (row, y))
    ]
    return BlockMatch(
        shift_px=torch.stack(shift, dim=1),
        score=score.reshape(shape),
        rival=rival.reshape(shape),
        inside=(inside & vertex[:, 0, 0]).reshape(shape),
        filled=filled,
    )


def _second_maximum(planes: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Largest maximum of planes `(n, side, side)` that is not the one around `row`, `column`."""
    if planes.shape[-1] <= 2 * RIVAL_PX + 1:
        return planes.new_zeros(len(planes))  # nothing is far enough away
    middle = planes[:, 1:-1, 1:-1]
    lower = (middle < planes[:, :-2, 1:-1]) | (middle < planes[:, 2:, 1:-1])
    lower |= (middle < planes[:, 1:-1, :-2]) | (middle < planes[:, 1:-1, 2:])
    place = torch.arange(1, planes.shape[-1] - 1, device=planes.device)
    near_row, near_column = ((place - p).abs() <= RIVAL_PX for p in (row, column))
    lower |= near_row[:, :, None] & near_column[:, None, :]
    return middle.masked_fill(lower, 0).amax(dim=(-2, -1))
