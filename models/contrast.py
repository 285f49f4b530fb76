"""Transmission and dark field of a tracked pair, from the reference warped by the displacement."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cade.interpolation import warp
from models.normalisation import blur, local_mean

NOISE_SIGMA_PX = 1.0
"""Blur before correlating: photon noise is white, speckle is not, so this favours the speckle."""
WINDOW_SPECKLES = 1.5
"""Standard deviation of the window in speckle sizes: some 25 speckles are averaged."""
TRANSMISSION_SIGMA_PX = 4.0
"""Window of the ratio of local means: three speckles, so that edges stay sharp."""
WINDOW_RANGE_PX = (8.0, 12.0)


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """Local comparison of sample and warped reference, all `(N, H, W)`.

    `transmission` is the ratio of local means (absorption times focusing), `dark_field` the ratio
    of local visibilities, `correlation` the local Pearson correlation.
    """

    transmission: torch.Tensor
    dark_field: torch.Tensor
    correlation: torch.Tensor


def speckle_size(image: torch.Tensor) -> float:
    """Speckle FWHM in px of flattened frames `(N, H, W)`, from variance over gradient energy.

    For a Gaussian autocorrelation of standard deviation s, ⟨(∂I/∂x)²⟩ = V²/s².
    """
    gradient = 0.5 * (
        image.diff(dim=-1).square().mean(dim=(-2, -1))
        + image.diff(dim=-2).square().mean(dim=(-2, -1))
    )
    variance = image.square().mean(dim=(-2, -1))
    squared = variance / gradient.clamp(min=1e-12) - 2 * NOISE_SIGMA_PX**2
    return 2.355 * float(squared.clamp(min=0.5).sqrt().median())


def measure_contrast(
    reference: torch.Tensor,
    sample: torch.Tensor,
    ux_px: torch.Tensor,
    uy_px: torch.Tensor,
    weight: torch.Tensor,
) -> Contrast:
    """Compare `sample` `(N, H, W)` with `reference` displaced by u; `weight` 0 = invalid pixel."""
    warped = warp(reference, ux_px, uy_px)
    tiny = 1e-6
    means = [local_mean(image, TRANSMISSION_SIGMA_PX, weight) for image in (warped, sample)]
    flat = [
        blur((image / mean.clamp(min=tiny) - 1) * weight, NOISE_SIGMA_PX)
        for image, mean in zip((warped, sample), means, strict=True)
    ]
    low, high = WINDOW_RANGE_PX
    window = min(high, max(low, WINDOW_SPECKLES * speckle_size(flat[0])))
    flat = [image - local_mean(image, 2 * window, weight) for image in flat]
    covariance = local_mean(flat[0] * flat[1], window, weight)
    variances = [local_mean(image.square(), window, weight).clamp(min=0) for image in flat]
    return Contrast(
        transmission=means[1] / means[0].clamp(min=tiny),
        dark_field=covariance / variances[0].clamp(min=1e-12),
        correlation=covariance / (variances[0] * variances[1]).sqrt().clamp(min=1e-12),
    )
