"""Means and planes of masked frames, `(N, H, W)`."""

from __future__ import annotations

import torch


def frame_mean(values: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """The weighted mean over each frame `(N, 1, 1)`, 0 where there is nothing to average."""
    if weights is None:
        weights = torch.ones((), dtype=values.dtype, device=values.device).expand_as(values)
    total = weights.sum(dim=(-2, -1), keepdim=True)
    mean = (values * weights).sum(dim=(-2, -1), keepdim=True) / total
    return mean.masked_fill_(total == 0, 0)


def plane(slope_x: torch.Tensor, slope_y: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The planes of these slopes per pixel `(N, 1, 1)`, zero in the middle of the frame."""
    return slope_x * _centred(width, slope_x) + slope_y * _centred(height, slope_y)[:, None]


def fitted_plane(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The least-squares plane of values whose mean over `mask` (0 or 1) is zero.

    Only the pixels of the mask get it, the others 0. Where these lie on one line the slope across
    it is unknown and taken as zero.
    """
    height, width = values.shape[-2:]
    column = _centred(width, values).expand(height, width)
    row = _centred(height, values)[:, None].expand(height, width)
    axes = torch.stack([(axis - frame_mean(axis, mask)) * mask for axis in (column, row)], dim=1)
    axes = axes.flatten(2)
    moments = axes @ values.flatten(1)[:, :, None]
    inverse: torch.Tensor = torch.linalg.pinv(axes @ axes.mT, hermitian=True)
    return ((inverse @ moments).mT @ axes).reshape(values.shape)


def _centred(n: int, like: torch.Tensor) -> torch.Tensor:
    return torch.arange(n, dtype=like.dtype, device=like.device) - (n - 1) / 2
