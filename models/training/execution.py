"""How the network is computed in training: in which precision, and compiled or not."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn

from models.estimate import Estimate
from models.normalisation import normalise
from models.recipe import MachineRecipe

Model = Callable[[torch.Tensor, torch.Tensor], list[Estimate]]


def runs_in_bfloat16(machine: MachineRecipe, device: torch.device) -> bool:
    """Whether convolutions are computed in bfloat16: on GPUs, if the recipe leaves it open."""
    if machine.precision == "auto":
        return device.type == "cuda"
    return machine.precision == "bfloat16"


def wants_compiling(machine: MachineRecipe, device: torch.device) -> bool:
    """Whether `torch.compile` is tried: on GPUs, if the recipe leaves it open."""
    return machine.compile == "on" or (machine.compile == "auto" and device.type == "cuda")


def estimate(
    model: Model, reference: torch.Tensor, sample: torch.Tensor, *, bfloat16: bool
) -> list[Estimate]:
    """The network's estimates for frames `(N, H, W)`, in float32 whatever it computes in.

    A network that must compute something in float32 says so itself.
    """
    pair = normalise(reference, sample)
    with torch.autocast(reference.device.type, torch.bfloat16, enabled=bfloat16):
        estimates = model(pair.reference[:, None], pair.sample[:, None])
    return [
        Estimate(e.u_px.float(), None if e.log_sigma is None else e.log_sigma.float())
        for e in estimates
    ]


def tune(device: torch.device) -> None:
    """Let a GPU use TF32 where float32 is left, and choose its fastest convolutions."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True


def compiled(
    network: nn.Module, attempt: Callable[[Model], None], warn: Callable[[str], None]
) -> Model:
    """The compiled network if `attempt`, a forward and a backward pass, works with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's, about itself
            model: Model = torch.compile(network)
            attempt(model)
    except Exception as error:  # noqa: BLE001  a compiler fails in many ways, training need not
        first = next(iter(str(error).strip().splitlines()), "")
        warn(f"torch.compile failed ({type(error).__name__}: {first}); training goes on without it")
        return network
    finally:
        network.zero_grad(set_to_none=True)
    return model
