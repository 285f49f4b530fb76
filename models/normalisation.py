"""Frames to what the network was trained on: local mean divided out, contrast scaled to one.

The paper feeds raw intensities. A real beam has a profile, a sample absorbs, and real visibility
goes down to 5 % where the paper trained on ≥ 20 %: after this step all of them look alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

POOL = 4
"""Local means are taken on a grid this much coarser; frames are padded to whole cells."""
MEAN_SIGMA_PX = 12.0
CONTRAST_SIGMA_PX = 24.0
LEAST_CONTRAST = 0.005
"""Contrast below which there is no speckle to scale up."""


@dataclass(frozen=True, slots=True, eq=False)
class NormalisedPair:
    """`reference`, `sample` `(N, H, W)` with zero local mean and unit reference contrast.

    `transmission` is the ratio of the local means, `contrast` the reference's local visibility.
    """

    reference: torch.Tensor
    sample: torch.Tensor
    transmission: torch.Tensor
    contrast: torch.Tensor


def gaussian_taps(sigma: float, like: torch.Tensor) -> torch.Tensor:
    """A normalised Gaussian of ±3 sigma."""
    reach = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
    taps = torch.exp(-0.5 * (steps / sigma) ** 2)
    return taps / taps.sum()


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of `(N, H, W)`, zero outside."""
    taps = gaussian_taps(sigma, images)
    reach = len(taps) // 2
    rows = functional.conv2d(images[:, None], taps.reshape(1, 1, -1, 1), padding=(reach, 0))
    return functional.conv2d(rows, taps.reshape(1, 1, 1, -1), padding=(0, reach))[:, 0]


def local_mean(
    images: torch.Tensor, sigma_px: float, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Gaussian local mean of `(N, H, W)` over the pixels of weight one, `(N, H, W)`.

    Normalised convolution: neither the frame's border nor masked pixels pull it down.
    """
    height, width = images.shape[-2:]
    pad = (0, -width % POOL, 0, -height % POOL)
    if weight is None:
        weight = torch.ones_like(images[:1])
    images = functional.pad(images * weight, pad)
    weight = functional.pad(weight, pad)
    total = blur(functional.avg_pool2d(images[:, None], POOL)[:, 0], sigma_px / POOL)
    share = blur(functional.avg_pool2d(weight[:, None], POOL)[:, 0], sigma_px / POOL)
    coarse = (total / share.clamp(min=1e-6))[:, None]
    fine = functional.interpolate(coarse, scale_factor=POOL, mode="bilinear", align_corners=False)
    return fine[:, 0, :height, :width]


def normalise(
    reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor | None = None
) -> NormalisedPair:
    """Normalise frames `(N, H, W)`; `weight` is 0 on pixels that are invalid in either frame."""
    reference_mean = local_mean(reference, MEAN_SIGMA_PX, weight)
    sample_mean = local_mean(sample, MEAN_SIGMA_PX, weight)
    tiny = torch.finfo(reference.dtype).tiny
    flat_reference = reference / reference_mean.clamp(min=tiny) - 1
    flat_sample = sample / sample_mean.clamp(min=tiny) - 1
    if weight is not None:
        flat_reference, flat_sample = flat_reference * weight, flat_sample * weight
    contrast = local_mean(flat_reference.square(), CONTRAST_SIGMA_PX, weight).clamp(min=0).sqrt()
    scale = 1 / contrast.clamp(min=LEAST_CONTRAST)
    # A spike (a zinger, a division by a dark pixel) must not shake its whole neighbourhood.
    return NormalisedPair(
        reference=(flat_reference * scale).clamp(-8, 8),
        sample=(flat_sample * scale).clamp(-8, 8),
        transmission=sample_mean / reference_mean.clamp(min=tiny),
        contrast=contrast,
    )
