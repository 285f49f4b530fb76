"""The default network: two warp-and-refine passes of a U-net that sees the brightness equation.

StrainNet-f (`models.strainnet`) must learn from examples that displacement is a ratio of products
of gradients and differences; training, not noise, is what limits it. Here every pass is given those
products, and the local least-squares solutions (Lucas-Kanade) that follow from them at each of its
scales. The network is left with what it is good at: choosing, per pixel, how far to average. The
second pass sees the reference warped by the first one's answer: large shifts are not shrunk.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from cade.interpolation import displaced, spline_coefficients
from models.brightness import PRODUCTS, brightness_products
from models.estimate import Estimate

SLOPE = 0.1
FULL_CHANNELS = 4 + PRODUCTS
"""Full-resolution inputs of a pass: two images, the displacement so far, the products."""
SCALE_CHANNELS = 8
"""Inputs of each scale: the least-squares solution, what it rests on, what it leaves."""
WIDE_STEPS = (2, 4)
"""Dilations of the averages beyond the coarsest cell: windows of about 60 and 140 px."""
LEVEL_CHANNELS = 16
OUT_CHANNELS = 8
"""Of a head: two components at the four pixels of a 2×2 cell."""
VIEWS: tuple[tuple[int, ...], ...] = ((), (-2, -1), (-1,), (-2,))
"""Axes along which a pair can be mirrored: the network should answer alike, and nearly does."""
STEP_PX = 4.0
"""A pass moves no further: beyond, its linearised inputs mean nothing, and training diverges."""
LARGEST_SIGMA_LOG = 2.0
SMALLEST_SIGMA_LOG = -7.0
FIRST_SIGMA_LOG = -3.0
"""What an untrained claim says: 0.05 px."""


def least_squares(products: torch.Tensor) -> torch.Tensor:
    """Lucas-Kanade solution and its support from averaged products, `(N, 8, h, w)` to the same.

    Channels: ux, uy (bounded); trace, difference and mixed term of the gradient tensor; the level
    of the difference, the change of contrast, the level of the speckle.
    """
    xx, xy, yy, bx, by, ee, em, mm = products.unbind(1)
    trace = xx + yy
    damping = (
        0.02 * trace + 1e-3
    )  # keeps the solution finite where the gradients have one direction
    axx, ayy = xx + damping, yy + damping
    determinant = axx * ayy - xy * xy
    ux = (ayy * bx - xy * by) / determinant
    uy = (axx * by - xy * bx) / determinant
    bounded = [3 * torch.tanh(u / 3) for u in (ux, uy)]
    scale = 1 / (trace + 1e-3)
    support = [torch.log(trace + 1e-3), (xx - yy) * scale, 2 * xy * scale]
    levels = [torch.log(ee + 1e-3), em / (mm + 1e-2), torch.log(mm + 1e-2)]
    return torch.stack(bounded + support + levels, dim=1)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # a block begins as the identity

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, h, w)` to the same."""
        y = self.first(functional.leaky_relu(x, SLOPE))
        change: torch.Tensor = self.second(functional.leaky_relu(y, SLOPE))
        return x + change


class Pass(nn.Module):
    """A U-net on 2×2 pixel-unshuffled input; every level also gets its scale's least squares."""

    def __init__(self, channels: tuple[int, ...], blocks: int, *, claims: bool) -> None:
        super().__init__()
        given = [SCALE_CHANNELS] * (len(channels) - 2) + [SCALE_CHANNELS * (1 + len(WIDE_STEPS))]
        self.enter = nn.Conv2d(4 * FULL_CHANNELS + SCALE_CHANNELS, channels[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(channels))
        self.scale = nn.ModuleList(
            nn.Conv2d(g, c, 1) for g, c in zip(given, channels[1:], strict=True)
        )
        self.encode = nn.ModuleList(_blocks(c, blocks) for c in channels)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(channels))
        self.decode = nn.ModuleList(_blocks(c, blocks) for c in channels[:-1])
        self.head = nn.Conv2d(channels[0], OUT_CHANNELS, 3, padding=1)
        self.claim = Claim(channels[0], given[-1]) if claims else None
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(
        self, full: torch.Tensor, scales: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Inputs `(N, 12, H, W)` and those of `scale_inputs` to du and log sigma `(N, 2, H, W)`."""
        x = torch.cat([functional.pixel_unshuffle(full, 2), scales[0]], dim=1)
        x = self.encode[0](self.enter(x))
        skips = [x]
        levels = zip(self.down, self.scale, self.encode[1:], scales[1:], strict=True)
        for down, scale, encode, given in levels:
            x = encode(down(x) + scale(given))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = functional.interpolate(self.up[level](x), scale_factor=2, mode="bilinear")
            x = self.decode[level](x + skips[level])
        x = functional.leaky_relu(x, SLOPE)
        du: torch.Tensor = functional.pixel_shuffle(self.head(x), 2)
        return du, self.claim(x.detach(), scales[-1]) if self.claim is not None else None


class Claim(nn.Module):
    """Log sigma from the last features of a pass, which it does not shape.

    Features that were learnt for the displacement know little of the level of the noise; the
    coarsest scale's inputs do, so a factor that varies slowly comes from them.
    """

    def __init__(self, channels: int, given: int) -> None:
        super().__init__()
        self.block = ResidualBlock(channels)
        self.head = nn.Conv2d(channels, OUT_CHANNELS, 3, padding=1)
        self.enter = nn.Conv2d(given, LEVEL_CHANNELS, 1)
        self.level = nn.Conv2d(LEVEL_CHANNELS, 1, 1)
        nn.init.zeros_(self.level.weight)
        nn.init.zeros_(self.level.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, FIRST_SIGMA_LOG)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, coarsest: torch.Tensor) -> torch.Tensor:
        """Features `(N, C, H/2, W/2)` and the coarsest of `scale_inputs` to `(N, 2, H, W)`."""
        own = functional.pixel_shuffle(self.head(self.block(x)), 2)
        level = self.level(functional.leaky_relu(self.enter(coarsest), SLOPE))
        size = (int(own.shape[-2]), int(own.shape[-1]))
        level = functional.interpolate(level, size=size, mode="bilinear")
        return (own + level).clamp(SMALLEST_SIGMA_LOG, LARGEST_SIGMA_LOG)


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


def scale_inputs(products: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """Least squares of products `(N, 8, H, W)` in cells of 2, 4 … px, one tensor a level.

    The coarsest also gets windows wider than its cells: what large areas agree on.
    """
    scales = []
    for _ in range(levels):
        products = functional.avg_pool2d(products, 2)
        scales.append(least_squares(_smooth(products)))
    window = _smooth(products)
    for step in WIDE_STEPS:
        window = _smooth(window, step)
        scales[-1] = torch.cat([scales[-1], least_squares(window)], dim=1)
    return scales


def _smooth(x: torch.Tensor, step: int = 1) -> torch.Tensor:
    """Binomial 3×3 average: what a scale's window is, beyond its pooling cell."""
    channels = x.shape[1]
    taps = torch.tensor([0.25, 0.5, 0.25], device=x.device, dtype=x.dtype)
    kernel = (taps[:, None] * taps[None, :]).expand(channels, 1, 3, 3)
    padded = functional.pad(x, (step,) * 4, mode="replicate")
    return functional.conv2d(padded, kernel, groups=channels, dilation=step)


class CadeNetwork(nn.Module):
    """Passes of warp and refine over normalised frames (`models.normalisation`).

    Args:
        channels: of every level of every pass.
        blocks: residual blocks of every level, for every pass.
        views: mirror images of the pair whose answers are averaged in evaluation, 1, 2 or 4.
    """

    MULTIPLE = 16
    """Frame sides must be multiples of this; the tracker pads."""
    CLAIMS_SIGMA = True
    REACH_PX = 128
    """How far a tile's border is felt: beyond, by less than 0.1 sigma at any pixel (tested)."""
    bytes_per_px = 500
    """Peak memory of the default channels, most of it for the warp; measured."""

    def __init__(
        self,
        channels: tuple[tuple[int, ...], ...] = ((24, 32, 48, 64), (32, 48, 64, 96)),
        blocks: tuple[int, ...] = (1, 2),
        views: int = 1,
    ) -> None:
        super().__init__()
        self.views = VIEWS[:views]
        self.levels = [len(c) for c in channels]
        last = len(channels) - 1
        self.passes = nn.ModuleList(
            Pass(c, b, claims=i == last)
            for i, (c, b) in enumerate(zip(channels, blocks, strict=True))
        )

    def forward(
        self, reference: torch.Tensor, sample: torch.Tensor, start_px: torch.Tensor | None = None
    ) -> list[Estimate]:
        """Normalised `(N, 1, H, W)` frames to one estimate a pass, the last one the best.

        `start_px` `(N, 2, H, W)` is where a coarse stage says that the displacement lies: the
        passes find what is left. In evaluation only the last estimate is returned.
        """
        if self.training:
            return self._refined(reference, sample, start_px)
        answers = [self._seen(axes, reference, sample, start_px) for axes in self.views]
        u_px = torch.stack([a.u_px for a in answers]).mean(dim=0)
        claims = [a.log_sigma for a in answers if a.log_sigma is not None]
        return [Estimate(u_px, torch.stack(claims).mean(dim=0) if claims else None)]

    def _seen(
        self,
        axes: tuple[int, ...],
        reference: torch.Tensor,
        sample: torch.Tensor,
        start_px: torch.Tensor | None,
    ) -> Estimate:
        """The last estimate of the pair mirrored along `axes`, mirrored back."""
        if not axes:
            return self._refined(reference, sample, start_px)[-1]
        signs = reference.new_tensor([-1.0 if -1 in axes else 1.0, -1.0 if -2 in axes else 1.0])
        signs = signs[:, None, None]
        start = None if start_px is None else start_px.flip(axes) * signs
        best = self._refined(reference.flip(axes), sample.flip(axes), start)[-1]
        claim = None if best.log_sigma is None else best.log_sigma.flip(axes)
        return Estimate(best.u_px.flip(axes) * signs, claim)

    def _refined(
        self, reference: torch.Tensor, sample: torch.Tensor, start_px: torch.Tensor | None
    ) -> list[Estimate]:
        count, _, height, width = reference.shape
        found = reference.new_zeros(count, 2, height, width)
        start = found if start_px is None else start_px
        moved = start_px is not None
        estimates: list[Estimate] = []
        # Determinants of half-precision products cancel to noise: only convolutions may use it.
        with torch.autocast(reference.device.type, enabled=False):
            coefficients = spline_coefficients(reference[:, 0].float())
        for refine, levels in zip(self.passes, self.levels, strict=True):
            with torch.autocast(reference.device.type, enabled=False):
                u = start + found
                warped = displaced(coefficients, u[:, 0], u[:, 1])[:, None] if moved else reference
                products = brightness_products(warped.float(), sample.float())
                full = torch.cat([warped, sample, found, products], dim=1)
                scales = scale_inputs(products, levels)
            du, log_sigma = refine(full, scales)
            found = found + STEP_PX * torch.tanh(du.float() / STEP_PX)
            estimates.append(Estimate(start + found, log_sigma))
            found, moved = found.detach(), True  # each pass learns from its own loss
        return estimates
