"""Preconditioned conjugate gradients for a batch of independent systems."""

from __future__ import annotations

from collections.abc import Callable

import torch

Operator = Callable[[torch.Tensor], torch.Tensor]


def conjugate_gradient(
    b: torch.Tensor,
    *,
    apply: Operator,
    precondition: Operator,
    size: Operator,
    tolerance: float,
    max_iterations: int,
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Solve A x = b for every frame of `b` `(N, H, W)` from x = 0.

    A may be singular where b is consistent (Dᵀ W D with right-hand side Dᵀ W g is): the iterates
    stay in the span of the preconditioned residuals, and nothing there grows. A frame that has
    converged is frozen, so that it does not depend on the others in its batch.

    Args:
        b: right-hand sides.
        apply: A, symmetric and positive semi-definite.
        precondition: M⁻¹, likewise; M⁻¹ r is taken as the estimate of the error.
        size: the norm `(N,)` of such an estimate that must fall to the tolerance.
        tolerance: in the units of x.
        max_iterations: the most applications of A.

    Returns:
        x; the last estimated error `(N,)`; the iterations made.
    """
    x, residual = torch.zeros_like(b), b.clone()
    z = precondition(residual)
    direction, energy = z.clone(), _dot(residual, z)
    iterations = 0
    while iterations < max_iterations:
        active = (size(z) > tolerance) & (energy > 0)
        if not bool(active.any()):
            break
        image = apply(direction)
        step = _ratio(energy, _dot(direction, image), active)
        x.addcmul_(step, direction)
        residual.addcmul_(step, image, value=-1)
        z = precondition(residual)
        previous, energy = energy, _dot(residual, z)
        direction.mul_(_ratio(energy, previous, active)).add_(z)
        iterations += 1
    return x, size(z), iterations


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.einsum("nij,nij->n", a, b)


def _ratio(a: torch.Tensor, b: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    """The quotient a / b `(N, 1, 1)`, 0 for the frames that are done."""
    return torch.where(active & (b > 0), a / b, 0)[:, None, None]
