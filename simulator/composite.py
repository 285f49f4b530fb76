"""A sample of several phantoms."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cade.errors import UsageError
from simulator.microstructure import Microstructure
from simulator.phantom import Phantom, Slopes


@dataclass(frozen=True, slots=True)
class Composite:
    """Phantoms one behind the other: their phases and their attenuations add.

    They may be of different materials. One of them may scatter; its microstructure comes on top of
    its mean thickness.

    Raises:
        UsageError: it is empty, or what scatters is none of the phantoms.
    """

    phantoms: tuple[Phantom, ...]
    microstructure: Microstructure | None = None

    def __post_init__(self) -> None:
        if not self.phantoms:
            raise UsageError("a composite sample needs at least one phantom")
        if self.microstructure is not None and self.microstructure.phantom not in self.phantoms:
            raise UsageError("the phantom that scatters must be one of the composite's phantoms")


Sample = Phantom | Composite
"""What stands in the beam."""


def phantoms_of(sample: Sample) -> tuple[Phantom, ...]:
    """What adds up to a sample."""
    return sample.phantoms if isinstance(sample, Composite) else (sample,)


def microstructure_of(sample: Sample) -> Microstructure | None:
    """What scatters, if anything does."""
    return sample.microstructure if isinstance(sample, Composite) else None


def phase_depth(sample: Sample, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
    """Σ δ·t in m: times −k, the phase Φ."""
    parts = [p.material.delta * p.thickness_m(x_m, y_m) for p in phantoms_of(sample)]
    return torch.stack(parts).sum(dim=0)


def optical_depth(sample: Sample, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
    """Σ μ·t, without unit: Beer and Lambert's exponent."""
    parts = [p.material.mu_per_m * p.thickness_m(x_m, y_m) for p in phantoms_of(sample)]
    return torch.stack(parts).sum(dim=0)


def phase_depth_slopes(sample: Sample, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
    """∂/∂x and ∂/∂y of Σ δ·t, without unit: the refraction angles times −1."""
    parts = [p.material.delta * torch.stack(p.slopes(x_m, y_m)) for p in phantoms_of(sample)]
    slope_x, slope_y = torch.stack(parts).sum(dim=0)
    return slope_x, slope_y
