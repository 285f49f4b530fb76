"""Bilinear warping: enough where half a pixel is sought, or where a field is smooth."""

from __future__ import annotations

import torch
from torch.nn import functional


def displaced_bilinear(images: torch.Tensor, u_px: torch.Tensor) -> torch.Tensor:
    """`I(x − u(x))` of `(N, C, H, W)` for `u_px` `(N, 2, H, W)`; the border goes on outside."""
    height, width = images.shape[-2:]
    x, y = source_px(u_px)
    # Where a side is one pixel long, every position on it is that pixel.
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=True)


def source_px(u_px: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where in the reference pixels come from, x − u(x): columns and rows, `(N, H, W)` each."""
    height, width = u_px.shape[-2:]
    y = torch.arange(height, device=u_px.device, dtype=u_px.dtype)[:, None]
    x = torch.arange(width, device=u_px.device, dtype=u_px.dtype)
    return x - u_px[:, 0], y - u_px[:, 1]


def from_outside(u_px: torch.Tensor, margin_px: float = 0.0) -> torch.Tensor:
    """Pixels whose source lies outside the frame, by more than the margin: `(N, H, W)` bool."""
    height, width = u_px.shape[-2:]
    x, y = source_px(u_px)
    column = (x < -margin_px) | (x > width - 1 + margin_px)
    return column | (y < -margin_px) | (y > height - 1 + margin_px)
