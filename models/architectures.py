"""Networks by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from cade.errors import UsageError
from models.cade_network import CadeNetwork
from models.strainnet import StrainNet

ARCHITECTURES: dict[str, type[CadeNetwork | StrainNet]] = {
    "cade": CadeNetwork,
    "strainnet-f": StrainNet,
}


Network = CadeNetwork | StrainNet


def build_network(name: str, options: Mapping[str, Any]) -> Network:
    """A network with fresh weights.

    Raises:
        UsageError: an unknown architecture, or options it does not have.
    """
    if name not in ARCHITECTURES:
        raise UsageError(f"unknown network {name!r}; known are {', '.join(ARCHITECTURES)}")
    try:
        return ARCHITECTURES[name](**options)
    except TypeError as error:
        raise UsageError(f"network {name!r}: {error}") from None


def parameter_count(network: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(p.numel() for p in network.parameters())


def channels_last(network: Network, device: torch.device) -> Network:
    """The network on a device, its kernels laid out for the fastest convolutions."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
