"""The exponential moving average of a network in training, which becomes the result."""

from __future__ import annotations

import copy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """A copy of the network that follows it; `decay` 0 makes it the network itself.

    PyTorch's `AveragedModel` does the same, but asks the device a question at every step.
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.decay = decay

    def update(self, network: torch.nn.Module, step: int) -> None:
        """Take in the network after `step` steps; the first ones are forgotten sooner."""
        decay = min(self.decay, (1 + step) / (10 + step))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(list(self.module.parameters()), list(network.parameters()), None)
