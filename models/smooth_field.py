"""A smooth displacement field from what blocks say: outliers out, gaps filled, bilinear between."""

from __future__ import annotations

import torch
from torch.nn import functional

from models.normalisation import blur

OUTLIER_PX = 1.5
"""A block further than this from what its neighbours predict is an outlier ..."""
OUTLIER_SPREADS = 2.0
"""... beyond so many median deviations of theirs, because a field may be steep."""
NEAR_BLOCKS, FAR_BLOCKS = 1.0, 3.0
"""Standard deviations of the windows of the local fits: one that follows, one that bridges gaps."""
SLOPE_RIDGE = 0.005
"""Keeps a plane's slope finite where few blocks support it, at the value zero."""
LITTLE_SUPPORT = 0.02
"""Share of a window's weight at which the wider window counts as much."""
NOISE_SHARE = 0.24
"""Variance of the near fit of a block's shift, at the border of a frame, in variances of a shift
about its neighbours' plane, with as much again as a margin; inside it is a third of it."""
NOISE_BLOCKS = 1.5
"""Standard deviation of the window in which that variance, and what exceeds it, are averaged."""
_TINY = 1e-9


def consistent(shift_px: torch.Tensor, trusted: torch.Tensor) -> torch.Tensor:
    """Those of the trusted blocks `(N, h, w)` whose shifts `(N, 2, h, w)` their neighbours support.

    The median test of particle image velocimetry (Westerweel and Scarano, Exp. Fluids 39, 1096,
    2005) on 5×5 blocks, then the distance to a plane through the neighbours that are left.
    """
    around = _neighbours(shift_px.masked_fill(~trusted[:, None], torch.nan))
    median = around.nanmedian(dim=2).values
    spread = (around - median[:, :, None]).abs().nanmedian(dim=2).values
    far = (shift_px - median).abs() > OUTLIER_PX + OUTLIER_SPREADS * spread
    kept = trusted & ~far.any(dim=1)  # no neighbour at all: NaN is not far
    predicted, support = _local_plane(shift_px, kept.to(shift_px.dtype), NEAR_BLOCKS, own=False)
    far = ((shift_px - predicted).abs() > OUTLIER_PX).any(dim=1) & (support > LITTLE_SUPPORT)
    return kept & ~far


def smooth_field(shift_px: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Shifts `(N, 2, h, w)` smoothed over blocks by weight `(N, h, w)`, continued to the others.

    Planes are fitted, so a field that rises to the border goes on rising: in a near window where
    that says more than noise would, else in a far one. Zero where no block of a frame has any
    weight.
    """
    total = weight.sum(dim=(-2, -1), keepdim=True).clamp(min=_TINY)
    mean = (shift_px * weight[:, None]).sum(dim=(-2, -1), keepdim=True) / total[:, None]
    far, support = _local_plane(shift_px, weight, FAR_BLOCKS)
    field = torch.lerp(mean.expand_as(far), far, _enough(support))
    near, support = _local_plane(shift_px, weight, NEAR_BLOCKS)
    share = _enough(support) * _significant(near - field, shift_px, weight)
    return torch.lerp(field, near, share)


def _enough(support: torch.Tensor) -> torch.Tensor:
    return (support / (support + LITTLE_SUPPORT))[:, None]


def _significant(
    change_px: torch.Tensor, shift_px: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Share of a change `(N, 2, h, w)` that the noise of the shifts does not explain, 0–1."""
    predicted, _ = _local_plane(shift_px, weight, NEAR_BLOCKS, own=False)
    squares = torch.cat([change_px, shift_px - predicted], dim=1).square() * weight[:, None]
    sums = blur(squares.flatten(0, 1), NOISE_BLOCKS).reshape(squares.shape)
    means = sums / blur(weight, NOISE_BLOCKS).clamp(min=_TINY)[:, None]
    changed, noise = means[:, :2], means[:, 2:]
    return (1 - NOISE_SHARE * noise / changed.clamp(min=_TINY)).clamp(0, 1)


def between_blocks(field: torch.Tensor, block_px: int, shape: tuple[int, int]) -> torch.Tensor:
    """Values `(N, 2, h, w)` at the blocks' centres, bilinear to pixels `(N, 2, H, W)`.

    Beyond the outermost centres it goes on as a line.
    """
    for dim in (-2, -1):
        length = field.shape[dim]
        first, last = field.narrow(dim, 0, 1), field.narrow(dim, length - 1, 1)
        inner = 1 if length > 1 else 0
        before = 2 * first - field.narrow(dim, inner, 1)
        after = 2 * last - field.narrow(dim, length - 1 - inner, 1)
        field = torch.cat([before, field, after], dim=dim)
    fine = functional.interpolate(
        field, scale_factor=block_px, mode="bilinear", align_corners=False
    )
    height, width = shape
    return fine[..., block_px : block_px + height, block_px : block_px + width]


def _neighbours(values: torch.Tensor) -> torch.Tensor:
    """The 24 around each of `(N, 2, h, w)` as `(N, 2, 24, h, w)`, NaN beyond the border."""
    count, channels, height, width = values.shape
    padded = functional.pad(values, (2, 2, 2, 2), value=torch.nan)
    windows = padded.unfold(2, 5, 1).unfold(3, 5, 1).reshape(count, channels, height, width, 25)
    around = torch.cat([windows[..., :12], windows[..., 13:]], dim=-1)
    return around.movedim(-1, 2)


def _local_plane(
    values: torch.Tensor, weight: torch.Tensor, sigma: float, *, own: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Planes fitted around every block, there: `(N, 2, h, w)`; and their support `(N, h, w)`, 0–1.

    `own` = False leaves out the block itself. Solves [m  mx  my; mx  mxx  mxy; my  mxy  myy] by
    elimination of the mean.
    """
    kernels = _moment_kernels(sigma, values, own)
    reach = kernels.shape[-1] // 2
    planes = torch.cat([weight[:, None], values * weight[:, None]], dim=1)
    count, _, height, width = planes.shape
    moments = functional.conv2d(planes.reshape(-1, 1, height, width), kernels, padding=reach)
    moments = moments.reshape(count, 3, 6, height, width)
    m, mx, my, mxx, mxy, myy = moments[:, 0].unbind(1)
    support = m.clamp(min=_TINY)
    x, y = mx / support, my / support
    ridge = SLOPE_RIDGE * sigma**2 + _TINY
    cxx, cyy, cxy = (
        mxx / support - x * x + ridge,
        myy / support - y * y + ridge,
        mxy / support - x * y,
    )
    determinant = cxx * cyy - cxy * cxy
    mean = moments[:, 1:, 0] / support[:, None]
    cx = moments[:, 1:, 1] / support[:, None] - mean * x[:, None]
    cy = moments[:, 1:, 2] / support[:, None] - mean * y[:, None]
    slope_x = (cyy[:, None] * cx - cxy[:, None] * cy) / determinant[:, None]
    slope_y = (cxx[:, None] * cy - cxy[:, None] * cx) / determinant[:, None]
    return mean - slope_x * x[:, None] - slope_y * y[:, None], m


def _moment_kernels(sigma: float, like: torch.Tensor, own: bool) -> torch.Tensor:
    """Gaussian weights of sum one times 1, x, y, x², xy, y², as `(6, 1, side, side)`."""
    reach = max(1, round(3 * sigma))
    t = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
    y, x = t[:, None], t[None, :]
    weight = torch.exp(-0.5 * (x * x + y * y) / sigma**2)
    if not own:
        weight[reach, reach] = 0
    weight = weight / weight.sum()
    terms = [weight * f for f in (torch.ones_like(weight), x, y, x * x, x * y, y * y)]
    return torch.stack(terms)[:, None]
