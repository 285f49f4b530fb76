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
from models.estimate import Estimate

SLOPE = 0.1
PRODUCTS = 8
FULL_CHANNELS = 4 + PRODUCTS
"""Full-resolution inputs of a pass: two images, the displacement so far, the products."""
SCALE_CHANNELS = 8
"""Inputs of each scale: the least-squares solution, what it rests on, what it leaves."""
STEP_PX = 4.0
"""A pass moves no further: beyond, its linearised inputs mean nothing, and training diverges."""
LARGEST_SIGMA_LOG = 2.0
SMALLEST_SIGMA_LOG = -7.0


def _gradients(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fourth-order central differences along x and y of `(N, 1, H, W)`."""
    taps = torch.tensor([1.0, -8.0, 0.0, 8.0, -1.0], device=images.device, dtype=images.dtype) / 12
    padded = functional.pad(images, (2, 2, 2, 2), mode="replicate")
    along_x = functional.conv2d(padded[:, :, 2:-2], taps.reshape(1, 1, 1, 5))
    along_y = functional.conv2d(padded[:, :, :, 2:-2], taps.reshape(1, 1, 5, 1))
    return along_x, along_y


def brightness_products(reference: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """gx², gx·gy, gy², gx·e, gy·e, e², e·m, m² of `(N, 1, H, W)` images, `(N, 8, H, W)`.

    m is the mean of both images, g its gradient and e = reference − sample. With
    I_s(x) = I_r(x − u), e = g·u to second order; e² measures the noise, e·m a change of contrast.
    """
    m = 0.5 * (reference + sample)
    gx, gy = _gradients(m)
    e = reference - sample
    return torch.cat([gx * gx, gx * gy, gy * gy, gx * e, gy * e, e * e, e * m, m * m], dim=1)


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

    def __init__(self, channels: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(4 * FULL_CHANNELS + SCALE_CHANNELS, channels[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(channels))
        self.scale = nn.ModuleList(nn.Conv2d(SCALE_CHANNELS, c, 1) for c in channels[1:])
        self.encode = nn.ModuleList(_blocks(c, blocks) for c in channels)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(channels))
        self.decode = nn.ModuleList(_blocks(c, blocks) for c in channels[:-1])
        self.head = nn.Conv2d(channels[0], 16, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, full: torch.Tensor, products: torch.Tensor) -> torch.Tensor:
        """`(N, 12, H, W)` and products `(N, 8, H, W)` to `(N, 4, H, W)`: du, log sigma."""
        pooled = functional.avg_pool2d(products, 2)
        x = torch.cat([functional.pixel_unshuffle(full, 2), least_squares(_smooth(pooled))], dim=1)
        x = self.encode[0](self.enter(x))
        skips = [x]
        for down, scale, encode in zip(self.down, self.scale, self.encode[1:], strict=True):
            pooled = functional.avg_pool2d(pooled, 2)
            x = encode(down(x) + scale(least_squares(_smooth(pooled))))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = functional.interpolate(self.up[level](x), scale_factor=2, mode="bilinear")
            x = self.decode[level](x + skips[level])
        out: torch.Tensor = functional.pixel_shuffle(self.head(functional.leaky_relu(x, SLOPE)), 2)
        return out


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


def _smooth(x: torch.Tensor) -> torch.Tensor:
    """Binomial 3×3 average: what a scale's window is, beyond its pooling cell."""
    channels = x.shape[1]
    taps = torch.tensor([0.25, 0.5, 0.25], device=x.device, dtype=x.dtype)
    kernel = (taps[:, None] * taps[None, :]).expand(channels, 1, 3, 3)
    return functional.conv2d(
        functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels
    )


class CadeNetwork(nn.Module):
    """Passes of warp and refine over normalised frames (`models.normalisation`)."""

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
    ) -> None:
        super().__init__()
        self.passes = nn.ModuleList(Pass(c, b) for c, b in zip(channels, blocks, strict=True))

    def forward(self, reference: torch.Tensor, sample: torch.Tensor) -> list[Estimate]:
        """Normalised `(N, 1, H, W)` frames to one estimate a pass, the last one the best."""
        count, _, height, width = reference.shape
        u = reference.new_zeros(count, 2, height, width)
        estimates: list[Estimate] = []
        coefficients = spline_coefficients(reference[:, 0])
        for refine in self.passes:
            warped = displaced(coefficients, u[:, 0], u[:, 1])[:, None] if estimates else reference
            products = brightness_products(warped, sample)
            out = refine(torch.cat([warped, sample, u, products], dim=1), products)
            log_sigma = out[:, 2:].clamp(SMALLEST_SIGMA_LOG, LARGEST_SIGMA_LOG)
            step = STEP_PX * torch.tanh(out[:, :2] / STEP_PX)
            estimates.append(Estimate(u + step, log_sigma))
            u = estimates[-1].u_px.detach()  # each pass learns from its own loss
        return estimates
