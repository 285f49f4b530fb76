"""Transmission and dark field of a tracked pair, and how far its speckle is the reference's.

The sample is regressed, in local windows, on the reference warped by the displacement. Means over
windows are taken on a grid of cells (`models.normalisation.POOL`), where they cost next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch.nn import functional

from cade.interpolation import displaced, spline_coefficients
from models.normalisation import POOL, blur, local_mean

TRANSMISSION_SIGMA_PX = 6.0
"""Window of the ratio of local means: several speckles, because each frame has its own noise."""
NOISE_SIGMA_PX = 1.0
"""Blur before regressing: photon noise is white, speckle is not, so this favours the speckle."""
FLATTEN_SIGMA_PX = 16.0
"""What varies more slowly than this is not speckle."""
WINDOWS_PX = (8.0, 16.0)
"""Standard deviations of the regression's windows: one that resolves, one that is certain."""
AGREEMENT_SIGMA_PX = 2.5
"""The displacement is smoothed by this much before agreement is judged: a network is free enough to
bend a reference into foreign speckle, but not smoothly."""
MOST_EXCESS = 20.0
_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """Local comparison of sample and warped reference.

    `transmission` `(N, H, W)` is the ratio of local means: absorption times focusing. `dark_field`
    `(N, H, W)` is the ratio of local visibilities. `agreement` and `wide_agreement` are on cells,
    `(N, ceil(H/4), ceil(W/4))`: 1 for a good pair, 0 where the speckle is foreign.
    """

    transmission: torch.Tensor
    dark_field: torch.Tensor
    agreement: torch.Tensor
    wide_agreement: torch.Tensor


def measure_contrast(
    reference: torch.Tensor,
    sample: torch.Tensor,
    ux_px: torch.Tensor,
    uy_px: torch.Tensor,
    weight: torch.Tensor,
) -> Contrast:
    """Compare `sample` `(N, H, W)` with `reference` displaced by u; `weight` 0 = invalid pixel."""
    coefficients = spline_coefficients(reference)
    warped = displaced(coefficients, ux_px, uy_px)
    reference_mean = local_mean(warped, TRANSMISSION_SIGMA_PX, weight)
    sample_mean = local_mean(sample, TRANSMISSION_SIGMA_PX, weight)
    flat_sample = _flattened(sample, sample_mean, weight)
    dark_field, _ = _regression(
        _products(_flattened(warped, reference_mean, weight), flat_sample), WINDOWS_PX[0]
    )
    coarse = [_smoothed(u, AGREEMENT_SIGMA_PX) for u in (ux_px, uy_px)]
    judged = displaced(coefficients, *coarse)
    judged = _flattened(judged, local_mean(judged, TRANSMISSION_SIGMA_PX, weight), weight)
    products = _products(judged, flat_sample)
    height, width = sample.shape[-2:]
    return Contrast(
        transmission=sample_mean / reference_mean.clamp(min=_TINY),
        dark_field=functional.interpolate(
            dark_field[:, None], scale_factor=POOL, mode="bilinear", align_corners=False
        )[:, 0, :height, :width],
        agreement=_regression(products, WINDOWS_PX[0])[1],
        wide_agreement=_regression(products, WINDOWS_PX[1])[1],
    )


def averaged(contrast: Contrast) -> Contrast:
    """The mean over positions `(N, ...)` of the diffuser, as one `(1, ...)`."""
    values = (getattr(contrast, field.name) for field in fields(contrast))
    return Contrast(*(value.mean(dim=0, keepdim=True) for value in values))


def _smoothed(field: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """Gaussian mean of `(N, H, W)` over what is inside the frame."""
    return blur(field, sigma_px) / blur(torch.ones_like(field[:1]), sigma_px)


def _products(reference: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """Cell means `(N, 3, h, w)` of reference·sample, reference² and sample²."""
    return _cells(torch.stack([reference * sample, reference.square(), sample.square()], dim=1))


def _flattened(image: torch.Tensor, mean: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Speckle alone: local mean divided out, noise blurred, slow structure removed."""
    flat = blur((image / mean.clamp(min=_TINY) - 1) * weight, NOISE_SIGMA_PX)
    return flat - local_mean(flat, FLATTEN_SIGMA_PX, weight)


def _cells(images: torch.Tensor) -> torch.Tensor:
    """Means over cells of `(N, C, H, W)`; the last cells repeat the border."""
    height, width = images.shape[-2:]
    padded = functional.pad(images, (0, -width % POOL, 0, -height % POOL), mode="replicate")
    return functional.avg_pool2d(padded, POOL)


def _regression(products: torch.Tensor, sigma_px: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Regression coefficient of sample on reference, and the agreement that it shows.

    Structure of the sample's own (edges, scatter) lowers the correlation, down to 0.2 on real rods,
    but not the coefficient: it only makes it less certain, in the ratio of the standard deviations,
    sample over reference. So the coefficient is raised by that ratio where it is above one.
    """
    inside = torch.ones_like(products[:1, :1])
    count, channels, height, width = products.shape
    total = blur(products.reshape(-1, height, width), sigma_px / POOL)
    means = total.reshape(count, channels, height, width) / blur(inside[0], sigma_px / POOL)
    covariance, variance, sample_variance = means.unbind(1)
    variance = variance.clamp(min=_TINY)
    coefficient = covariance / variance
    excess = (sample_variance / variance).clamp(min=0).sqrt().clamp(1, MOST_EXCESS)
    return coefficient, torch.where(coefficient > 0, coefficient * excess, coefficient)
