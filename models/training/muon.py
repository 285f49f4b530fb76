"""Muon: kernels move by their orthogonalised momentum, all else by AdamW.

After K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with the
step scaled to the size of an AdamW step (Liu et al., arXiv:2502.16982), so that one learning rate
serves both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that sends singular values between 0 and 1 to the neighbourhood of 1."""
STEP_RMS = 0.2
"""Root mean square of a step over the learning rate: that of AdamW, as measured by Liu et al."""


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix `(m, n)` with its singular values brought near to 1, by Newton-Schulz steps."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    result: torch.Tensor = x.T if tall else x
    return result


class Muon(torch.optim.AdamW):
    """AdamW that moves the group with `kernels=True` by Muon.

    Args:
        network: its convolution kernels except those of heads (which make outputs, not features)
            go by Muon.
        lr: learning rate of both.
        weight_decay: decoupled, of both.
    """

    def __init__(self, network: torch.nn.Module, lr: float, weight_decay: float) -> None:
        learning = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        kernels = [p for name, p in learning if p.ndim == 4 and "head" not in name]
        chosen = {id(p) for p in kernels}
        others = [p for _, p in learning if id(p) not in chosen]
        groups = [
            {"params": params, "kernels": is_kernels}
            for params, is_kernels in ((kernels, True), (others, False))
            if params
        ]
        super().__init__(groups, lr=lr, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all parameters, or none where `found_inf` is 1 (as fused optimisers do)."""
        groups = self.param_groups
        for group in groups:
            if group["kernels"]:
                self._move(group["params"], group["lr"], group["weight_decay"])
        self.param_groups = [g for g in groups if not g["kernels"]]
        try:
            if self.param_groups:
                super().step(closure)
        finally:
            self.param_groups = groups

    def _move(self, kernels: Iterable[torch.nn.Parameter], rate: float, decay: float) -> None:
        bad = getattr(self, "found_inf", None)
        for kernel in kernels:
            if kernel.grad is None:
                continue
            state = self.state[kernel]
            if not state:
                state["step"] = torch.zeros((), device=kernel.device)  # AdamW looks for it
                state["momentum"] = torch.zeros_like(kernel)
            gradient, momentum = kernel.grad, state["momentum"]
            if bad is not None:  # a gradient of no finite numbers leaves everything as it was
                gradient = torch.where(bad > 0, momentum, gradient)
            momentum.lerp_(gradient, 1 - MOMENTUM)
            ahead = gradient.lerp(momentum, MOMENTUM)
            matrix = ahead.reshape(len(kernel), -1)
            change = orthogonalised(matrix).reshape(kernel.shape)
            change = STEP_RMS * max(matrix.shape) ** 0.5 * change + decay * kernel
            if bad is not None:
                change = torch.where(bad > 0, 0.0, change)
            kernel.sub_(change, alpha=rate)
