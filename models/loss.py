"""The training loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn import functional

from cade.errors import UsageError
from models.estimate import Estimate

Reduction = Literal["sum", "mean"]
_SMOOTH_PX2 = 1e-6
"""Under the root of the end-point error, whose gradient is undefined at zero."""
_WORST = 50.0
"""Squared deviations in units of sigma are capped here, lest one pixel steer a batch."""


def end_point_error(u_px: torch.Tensor, truth_px: torch.Tensor) -> torch.Tensor:
    """Euclidean end-point error (paper eq. 1) per pixel, `(N, H, W)`."""
    return (u_px - truth_px).square().sum(dim=1).add(_SMOOTH_PX2).sqrt()


def multiscale_loss(
    estimates: Sequence[Estimate],
    truth_px: torch.Tensor,
    weights: Sequence[float],
    reduction: Reduction,
    sigma_weight: float,
) -> torch.Tensor:
    """Weighted end-point errors of all estimates, and the likelihood of their claimed sigma.

    Each estimate is compared with the truth averaged down to its resolution, its values in
    full-resolution pixels. The paper's original sums over pixels (`reduction="sum"`), so its
    weights [0.005, …, 0.32] fall on sums that shrink 256-fold from full to 1/16; with means the
    finest scale must carry the largest weight instead.

    Args:
        estimates: coarse to fine.
        truth_px: `(N, 2, H, W)`.
        weights: one for each estimate.
        reduction: over pixels; the batch is always averaged.
        sigma_weight: of the Gaussian likelihood; it shapes only sigma, not the displacement.

    Raises:
        UsageError: not one weight for each estimate.
    """
    if len(estimates) != len(weights):
        raise UsageError(
            f"optimiser.loss_weights: the network makes {len(estimates)} estimates, so it needs as "
            f"many weights, not {len(weights)}"
        )
    total = truth_px.new_zeros(())
    for estimate, weight in zip(estimates, weights, strict=True):
        truth = truth_px
        if estimate.u_px.shape != truth.shape:
            height, width = estimate.u_px.shape[-2:]
            truth = functional.adaptive_avg_pool2d(truth, (height, width))
        error = end_point_error(estimate.u_px, truth)
        term = error.sum(dim=(1, 2)).mean() if reduction == "sum" else error.mean()
        if estimate.log_sigma is not None:
            likelihood = _negative_log_likelihood(estimate.u_px, estimate.log_sigma, truth)
            term = term + sigma_weight * likelihood
        total = total + weight * term
    return total


def _negative_log_likelihood(
    u_px: torch.Tensor, log_sigma: torch.Tensor, truth: torch.Tensor
) -> torch.Tensor:
    deviation = (u_px.detach() - truth).square() * torch.exp(-2 * log_sigma)
    return (0.5 * deviation.clamp(max=_WORST) + log_sigma).mean()
