"""How well any tracker could do: the Bayesian limit of a linearised pair.

For I_s = T·I_r(x − u) + noise with displacement nodes every P px, bilinear hats B between them and
a normal prior on every node, the Fisher information of the nodes is F = AᵀA + 1/σ_prior² with
A = [B·gx, B·gy]·T/σ and σ² = (T + T²)·I/N0 (both frames carry Poisson noise). The posterior
covariance of the field, B·F⁻¹·Bᵀ, bounds every tracker from below; it knows P and T, which a
tracker does not.
"""

from __future__ import annotations

import math

import torch

from simulator.deformation import NODE_SIGMA_PX

RAYLEIGH = math.sqrt(math.pi / 2) / math.sqrt(2)
"""Mean length of a two-component normal deviation over √(σx² + σy²): 0.886."""


def hats(length_px: int, patch_px: int, offset_px: int = 0) -> torch.Tensor:
    """Linear hat functions of nodes every `patch_px` along one axis, `(length, nodes)` float64."""
    positions = torch.arange(length_px, dtype=torch.float64) + offset_px
    nodes = torch.arange((length_px - 1 + offset_px) // patch_px + 2, dtype=torch.float64)
    return (1 - (positions[:, None] / patch_px - nodes[None, :]).abs()).clamp(min=0)


def limit_sigma(
    reference: torch.Tensor,
    transmission: float,
    counts: float,
    patch_px: int,
    prior_px: float = NODE_SIGMA_PX,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior standard deviations of ux and uy at every pixel.

    Args:
        reference: noise-free pattern `(H, W)` at the detector's pixels, of mean one.
        transmission: uniform T of the sample.
        counts: N0, mean counts per pixel of the reference.
        patch_px: distance P of the nodes.
        prior_px: standard deviation of a node.

    Returns:
        sigma_x, sigma_y `(H, W)` in px.
    """
    image = reference.double()
    gy, gx = torch.gradient(image)
    noise = torch.sqrt((transmission + transmission**2) * image.clamp(min=1e-3) / counts)
    weight = transmission / noise
    height, width = image.shape
    basis_y, basis_x = hats(height, patch_px), hats(width, patch_px)
    basis = torch.einsum("yn,xm->yxnm", basis_y, basis_x).reshape(height * width, -1)
    design = torch.cat(
        [basis * (gx * weight).reshape(-1, 1), basis * (gy * weight).reshape(-1, 1)], dim=1
    )
    fisher = design.T @ design
    fisher += torch.eye(len(fisher), dtype=torch.float64) / prior_px**2
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(fisher))
    count = basis.shape[1]
    blocks = (covariance[:count, :count], covariance[count:, count:])
    variances = [((basis @ block) * basis).sum(dim=1).reshape(height, width) for block in blocks]
    return variances[0].sqrt(), variances[1].sqrt()


def limit_epe(reference: torch.Tensor, transmission: float, counts: float, patch_px: int) -> float:
    """Mean end-point error in px that the limit allows on a pattern `(H, W)`."""
    sigma_x, sigma_y = limit_sigma(reference, transmission, counts, patch_px)
    return RAYLEIGH * float(torch.sqrt(sigma_x**2 + sigma_y**2).mean())
