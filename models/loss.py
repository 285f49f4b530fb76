"""The training loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn import functional

from cade.errors import UsageError
from models.estimate import Estimate

Reduction = Literal["sum", "mean"]
_SMOOTH_PX2 = 1e-6
"""Under the root of the end-point error, whose gradient is undefined at zero."""
_LEAST_PX = 1e-5
"""Deviations below this count as this: their logarithm must be finite."""
COVERAGE = ((1.0, 0.6827), (2.0, 0.9545))
"""Multiples of sigma, and the share of normal deviations that lies within them."""


def end_point_error(u_px: torch.Tensor, truth_px: torch.Tensor) -> torch.Tensor:
    """Euclidean end-point error (paper eq. 1) per pixel, `(N, H, W)`."""
    return (u_px - truth_px).square().sum(dim=1).add(_SMOOTH_PX2).sqrt()


def multiscale_loss(
    estimates: Sequence[Estimate],
    truth_px: torch.Tensor,
    weights: Sequence[float],
    reduction: Reduction,
    sigma_weight: float,
    error_power: float = 1.0,
) -> torch.Tensor:
    """Weighted end-point errors of all estimates, and the coverage of their claimed sigma.

    Each estimate is compared with the truth averaged down to its resolution, its values in
    full-resolution pixels. The paper's original sums over pixels (`reduction="sum"`), so its
    weights [0.005, …, 0.32] fall on sums that shrink 256-fold from full to 1/16; with means the
    finest scale must carry the largest weight instead.

    Args:
        estimates: coarse to fine.
        truth_px: `(N, 2, H, W)`.
        weights: one for each estimate, or one for the last estimate alone.
        reduction: over pixels; the batch is always averaged.
        sigma_weight: of the coverage of sigma; it shapes only sigma, not the displacement.
        error_power: of each pair's error. With one, pairs count by their error in px, and smooth
            fields, whose limit is 20 times below that of rough ones, next to nothing; the closer
            to zero, the more they count by their relative error.

    Raises:
        UsageError: neither so many weights as estimates, nor one.
    """
    if len(weights) == 1:
        estimates = estimates[-1:]
    if len(estimates) != len(weights):
        raise UsageError(
            f"optimiser.loss_weights: the network makes {len(estimates)} estimates, so it needs as "
            f"many weights, or one for the last, not {len(weights)}"
        )
    total = truth_px.new_zeros(())
    for estimate, weight in zip(estimates, weights, strict=True):
        truth = truth_px
        if estimate.u_px.shape != truth.shape:
            height, width = estimate.u_px.shape[-2:]
            truth = functional.adaptive_avg_pool2d(truth, (height, width))
        error = end_point_error(estimate.u_px, truth)
        pairs = error.sum(dim=(1, 2)) if reduction == "sum" else error.mean(dim=(1, 2))
        term = pairs.pow(error_power).mean()
        if estimate.log_sigma is not None:
            term = term + sigma_weight * coverage_loss(estimate.u_px, estimate.log_sigma, truth)
        total = total + weight * term
    return total


def coverage_loss(
    u_px: torch.Tensor, log_sigma: torch.Tensor, truth_px: torch.Tensor
) -> torch.Tensor:
    """Least where 68 % of the deviations lie within one sigma and 95 % within two.

    Quantile regression (Koenker and Bassett 1978) of log |deviation|, both quantiles by one sigma.
    A Gaussian likelihood fits the root mean square instead: rare large errors then make the claim
    too wide for all others. The displacement is not shaped by it.
    """
    deviation = (u_px.detach() - truth_px).abs().add(_LEAST_PX).log() - log_sigma
    total = deviation.new_zeros(())
    for multiple, share in COVERAGE:
        beyond = deviation - math.log(multiple)
        total = total + torch.maximum(share * beyond, (share - 1) * beyond).mean()
    return total
