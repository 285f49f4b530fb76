"""StrainNet-f, the network that the paper calls CADE once it is trained on X-ray speckle.

Written from the paper (Shi et al. 2023, section II-C) and the published layer table (Boukhtache et
al., Optics and Lasers in Engineering 136, 106308, 2021). Departures: each image is one channel, not
grey repeated three times (38.7 M parameters at width 1), and `width` scales every hidden layer.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cade.bilinear import displaced_bilinear
from cade.interpolation import warp
from models.estimate import Estimate

SLOPE = 0.1
ENCODER = (
    (64, 7, 1), (128, 5, 1), (256, 5, 2), (256, 3, 1), (512, 3, 2),
    (512, 3, 1), (512, 3, 2), (512, 3, 1), (1024, 3, 2), (1024, 3, 1),
)  # fmt: skip
"""Channels, kernel and stride of the encoder's convolutions."""
SKIPS = (7, 5, 3, 1)
"""Encoder layers whose output joins the decoder, from 1/8 to full resolution."""
DECODER = (512, 256, 128, 64)
"""Channels of the transposed convolutions, kernel 4 and stride 2."""


class StrainNet(nn.Module):
    """Encoder and decoder with flow heads at 1/16, 1/8, 1/4, 1/2 and full resolution."""

    MULTIPLE = 16
    """Frame sides must be multiples of this; the tracker pads."""
    CLAIMS_SIGMA = False
    REACH_PX = 140
    """Half the receptive field, rounded up: how far a tile's border is felt."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.bytes_per_px = round(250 + 3200 * width)
        encoder = [(max(8, round(c * width)), k, s) for c, k, s in ENCODER]
        decoder = [max(8, round(c * width)) for c in DECODER]
        before = [2] + [c for c, _, _ in encoder[:-1]]
        self.encode = nn.ModuleList(
            nn.Conv2d(b, c, k, s, k // 2) for b, (c, k, s) in zip(before, encoder, strict=True)
        )
        joined = [encoder[-1][0]]
        for channels, skip in zip(decoder, SKIPS, strict=True):
            joined.append(encoder[skip][0] + channels + 2)
        self.heads = nn.ModuleList(nn.Conv2d(c, 2, 3, 1, 1) for c in joined)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(c, d, 4, 2, 1) for c, d in zip(joined[:-1], decoder, strict=True)
        )
        self.grow_flow = nn.ModuleList(nn.ConvTranspose2d(2, 2, 4, 2, 1) for _ in decoder)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self, reference: torch.Tensor, sample: torch.Tensor, start_px: torch.Tensor | None = None
    ) -> list[Estimate]:
        """Frames `(N, 1, H, W)` to five estimates, 1/16 of the resolution first, full last.

        `start_px` `(N, 2, H, W)` is where a coarse stage says that the displacement lies: the
        network sees the reference displaced by it and finds what is left, v(x); then
        u(x) = v(x) + start(x − v(x)).
        """
        if start_px is not None:
            reference = warp(reference[:, 0], start_px[:, 0], start_px[:, 1])[:, None]
            return [_continued(estimate, start_px) for estimate in self(reference, sample)]
        x = torch.cat([reference, sample], dim=1)
        seen = []
        for layer in self.encode:
            x = functional.leaky_relu(layer(x), SLOPE)
            seen.append(x)
        flow = self.heads[0](x)
        estimates = [Estimate(flow)]
        rows = zip(SKIPS, self.grow, self.grow_flow, self.heads[1:], strict=True)
        for skip, grow, grow_flow, head in rows:
            up = functional.leaky_relu(grow(x), SLOPE)
            x = torch.cat([seen[skip], up, grow_flow(flow)], dim=1)
            flow = head(x)
            estimates.append(Estimate(flow))
        return estimates


def _continued(estimate: Estimate, start_px: torch.Tensor) -> Estimate:
    """The estimate of what a start has left, as the whole displacement."""
    left_px = estimate.u_px
    scale = start_px.shape[-1] // left_px.shape[-1]
    start_px = functional.avg_pool2d(start_px, scale)
    return Estimate(left_px + displaced_bilinear(start_px, left_px / scale))
