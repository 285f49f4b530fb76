"""The coarse stage: displacements of many pixels, found before a network refines them.

A network follows what is left, about a pixel. Here blocks of the sample are searched in the
reference at half the resolution, within the range, then again at full resolution near what the
first search found; what is still left is solved for in the same blocks (least squares of the
brightness equation). All go through a smooth field, because a network sees the reference warped by
it, and a jump would tear its speckles. The last step makes the field good to about 0.01 px where it
is smooth: beyond the border that a large displacement loses, nothing else is known
(`settled_sample`). Most frames need none of this: a search of the nearest shifts tells.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from cade.bilinear import displaced_bilinear, from_outside
from cade.interpolation import displaced, spline_coefficients
from models.block_match import BlockMatch, match_blocks
from models.brightness import brightness_products
from models.smooth_field import between_blocks, consistent, smooth_field

RANGE_PX = 24
"""Largest component of a displacement that is searched: ±20 px is promised, drift included."""
SMALL_PX = 1.25
"""Displacements up to here are the network's own business."""
FAR_PX = 1.5
"""A certain block must have moved further than this for the coarse stage to act."""
BLOCK_PX = 32
HALF = 2
NEAR_PX = 4
"""Reach of the search that tells small displacements from large ones, and of the second one."""
SOLVE_MARGIN_PX = 3.0
"""Nearer to what the reference does not show, its gradients are of the border."""
LEAST_DETERMINANT = 1e-9
LEAST_SCORE = 0.15
LEAST_SAY = 0.01
"""Weight of a block of which less than half is inside."""
MOST_RIVALRY = 0.7
"""Second best over best score above which it is anybody's guess: noise, or a periodic texture."""


def coarse_displacement(
    reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor | None:
    """Where the smooth part of the displacement lies, `(N, 2, H, W)` in px.

    Args:
        reference: normalised frames `(N, H, W)` (`models.normalisation`).
        sample: the same.
        weight: 0 on pixels that do not count.

    Returns:
        A smooth field for each frame, exactly zero for those that move by about a pixel at most;
        None where all do.
    """
    if weight is not None:
        reference, sample = reference * weight, sample * weight
    half_reference, half_sample = _halved(reference), _halved(sample)
    near = match_blocks(half_reference, half_sample, BLOCK_PX // HALF, NEAR_PX // HALF)
    moving = ~_is_calm(near)
    if not bool(moving.any()):
        return None
    shape = (int(sample.shape[-2]), int(sample.shape[-1]))
    field, far = _first_field(half_reference[moving], half_sample[moving], shape)
    if not bool(far.any()):
        return None
    moving[moving.clone()] = far
    start = sample.new_zeros((len(sample), 2, *shape))
    reference, sample = reference[moving], sample[moving]
    field = _second_field(reference, sample, field[far])
    start[moving] = _third_field(reference, sample, field)
    return start


def settled_sample(
    reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor, start_px: torch.Tensor
) -> torch.Tensor:
    """The sample `(N, H, W)`, filled where the displaced reference has nothing to compare it with.

    There, outside of the reference's frame or at its invalid pixels, and at the sample's own
    invalid pixels, it becomes what the start predicts, so that a network finds nothing to add. Left
    as it is it pulls at what lies 20 px away.
    """
    warped, there = displaced_bilinear(torch.stack([reference, weight], dim=1), start_px).unbind(1)
    comparable = (weight * there > 0.99) & ~from_outside(start_px)
    return torch.where(comparable, sample, warped)


def _first_field(
    reference: torch.Tensor, sample: torch.Tensor, shape: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shifts of blocks `(N, 2, h, w)` from halved frames, and which frames move far `(N,)`.

    What lies between and beyond blocks that are certain is no evidence that a frame moves.
    """
    match = match_blocks(reference, sample, BLOCK_PX // HALF, RANGE_PX // HALF)
    shift = match.shift_px * HALF
    trusted = consistent(shift, _is_clear(match))
    field = smooth_field(shift, _say(trusted, shift, shape))
    far = (field.abs().amax(dim=1) > FAR_PX) & trusted
    return field, far.any(dim=-1).any(dim=-1)


def _second_field(
    reference: torch.Tensor, sample: torch.Tensor, field: torch.Tensor
) -> torch.Tensor:
    """The field of blocks `(N, 2, h, w)` corrected by what is left of it.

    At full resolution: the halved peak of fine speckle is too narrow for a fit between its pixels.
    """
    shape = (int(sample.shape[-2]), int(sample.shape[-1]))
    start = between_blocks(field, BLOCK_PX, shape)
    warped = displaced_bilinear(reference[:, None], start)[:, 0].masked_fill(from_outside(start), 0)
    match = match_blocks(warped, sample, BLOCK_PX, NEAR_PX)
    trusted = consistent(match.shift_px, _is_clear(match))
    return field + smooth_field(match.shift_px, _say(trusted, field, shape))


def _third_field(
    reference: torch.Tensor, sample: torch.Tensor, field: torch.Tensor
) -> torch.Tensor:
    """The field of blocks corrected once more, at pixels `(N, 2, H, W)`.

    By the spline, whose values between pixels do not bend a least-squares solution.
    """
    shape = (int(sample.shape[-2]), int(sample.shape[-1]))
    start = between_blocks(field, BLOCK_PX, shape)
    warped = displaced(spline_coefficients(reference), start[:, 0], start[:, 1])
    seen = (~from_outside(start, -SOLVE_MARGIN_PX)).to(sample.dtype)[:, None]
    products = brightness_products(warped[:, None], sample[:, None])[:, :5] * seen
    pad = (0, -shape[1] % BLOCK_PX, 0, -shape[0] % BLOCK_PX)
    xx, xy, yy, bx, by = functional.avg_pool2d(functional.pad(products, pad), BLOCK_PX).unbind(1)
    determinant = (xx * yy - xy * xy).clamp(min=LEAST_DETERMINANT)
    left = torch.stack([yy * bx - xy * by, xx * by - xy * bx], dim=1) / determinant[:, None]
    trusted = consistent(left, (left.abs() < FAR_PX).all(dim=1))
    field = smooth_field(field + left, _say(trusted, field, shape))
    return between_blocks(field, BLOCK_PX, shape).clamp(-RANGE_PX, RANGE_PX)


def _say(trusted: torch.Tensor, shift_px: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Weights of blocks `(N, h, w)`.

    A block that lies partly outside speaks for its inner part: the less of it, the less it counts,
    and less than a half only where there is nothing else.
    """
    return trusted * (2 * _overlap(shift_px, shape) - 1).clamp(min=LEAST_SAY)


def _overlap(shift_px: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Share of each block `(N, h, w)` whose source, the block less its shift, is in the frame."""
    shares = []
    for shift, length, dim in ((shift_px[:, 0], shape[1], -1), (shift_px[:, 1], shape[0], -2)):
        first = torch.arange(shift.shape[dim], device=shift.device) * BLOCK_PX
        first = first if dim == -1 else first[:, None]
        stop = (first + BLOCK_PX - shift).clamp(max=length)
        shares.append((stop - (first - shift).clamp(min=0)).clamp(min=0) / BLOCK_PX)
    return shares[0] * shares[1]


def _is_clear(match: BlockMatch) -> torch.Tensor:
    certain = (match.score > LEAST_SCORE) & (match.rival < MOST_RIVALRY * match.score)
    return match.filled & match.inside & certain


def _is_calm(match: BlockMatch) -> torch.Tensor:
    """Frames `(N,)` of which every block agrees that it has hardly moved."""
    small = (match.shift_px.abs() * HALF).amax(dim=1) <= SMALL_PX
    sure = match.inside & (match.score > 2 * LEAST_SCORE)
    return ((small & sure) | ~match.filled).all(dim=-1).all(dim=-1)


def _halved(images: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[-2:]
    padded = functional.pad(images, (0, width % HALF, 0, height % HALF))
    return functional.avg_pool2d(padded[:, None], HALF)[:, 0]
