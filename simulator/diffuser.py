"""Diffusers as stacks of thin slices, and the wave field behind them.

`Sandpaper` is here; `simulator.membrane` has filters, `simulator.diffuser_map` measured diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from cade.errors import UsageError
from simulator.materials import Material, material
from simulator.optics import Optics
from simulator.random_field import exceeded_by, gaussian_field
from simulator.sampling import check_detail, check_phase
from simulator.wave_field import check_sampling, propagate, transfer_function, transmit

PAPER_THICKNESS_M = 200e-6
"""Cellulose carrier under each layer."""
_TOO_STEEP = 0.01
"""Share of the projected phase's steps that may exceed π. Each slice is below π everywhere; of the
sum, the rare steepest places alias, with a thousandth of the power at the default settings."""


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """A thin layer, `thickness_m` `(H, W)` of a material, and what follows it.

    Behind it the wave travels `behind_m`, through the `carrier` where there is one.
    """

    thickness_m: torch.Tensor
    material: str | Material
    behind_m: float = 0.0
    carrier: str | Material | None = None


class Diffuser(Protocol):
    """What makes speckle."""

    def slices(
        self, optics: Optics, shape: tuple[int, int], generator: torch.Generator
    ) -> Iterator[Slice]:
        """Layers in the order of the beam, on the generator's device, at the optics' pitch.

        They repeat with the field. They must not depend on the energy: a diffuser is the same for
        every line of a spectrum.

        Args:
            optics: the arrangement, without spectrum.
            shape: samples of the wave field.
            generator: the source of whatever is random.
        """


@dataclass(frozen=True, slots=True)
class Sandpaper:
    """Layers of rough grains on a carrier (paper section II-A).

    Args:
        grain_m: correlation length of the grains (FWHM).
        height: grain height over size.
        coverage: share of the area with grains.
        layers: how many papers.
        carrier_m: thickness of the carrier under each layer.
        grains: material of the grains.
        carrier: material of the carrier.

    Raises:
        UsageError: a value that no sandpaper has.
    """

    grain_m: float
    height: float = 0.5
    coverage: float = 0.5
    layers: int = 10
    carrier_m: float = PAPER_THICKNESS_M
    grains: str | Material = "alumina"
    carrier: str | Material = "cellulose"

    def __post_init__(self) -> None:
        if not 0 < self.grain_m <= 5e-3:
            raise UsageError(
                f"sandpaper: grain_m is the grain size in metres, up to 5e-3, not {self.grain_m!r}"
            )
        if not 0 < self.height <= 10:
            raise UsageError(
                f"sandpaper: height is the grains' height over their size, above 0 and up to 10, "
                f"not {self.height!r}"
            )
        if not 0 < self.coverage < 1:
            raise UsageError(
                f"sandpaper: coverage is a share of the area between 0 and 1, not {self.coverage!r}"
            )
        if not 1 <= self.layers <= 1000:
            raise UsageError(f"sandpaper: layers must be 1 to 1000, not {self.layers!r}")
        if not 0 <= self.carrier_m <= 0.1:
            raise UsageError(
                f"sandpaper: carrier_m is the carrier's thickness in metres, 0 to 0.1, not "
                f"{self.carrier_m!r}"
            )

    def slices(
        self, optics: Optics, shape: tuple[int, int], generator: torch.Generator
    ) -> Iterator[Slice]:
        """One for each layer."""
        check_detail(self.grain_m, optics, "sandpaper: grains")
        for _ in range(self.layers):
            thickness_m = grain_thickness(self, shape, optics.pitch_m, generator)
            yield Slice(thickness_m, self.grains, self.carrier_m, self.carrier)


def grain_thickness(
    paper: Sandpaper, shape: tuple[int, int], pitch_m: float, generator: torch.Generator
) -> torch.Tensor:
    """Thickness in m of one layer of grains, periodic, `(H, W)` float32.

    A Gaussian random field, cut so that a fraction `coverage` of the area carries grains.
    """
    smooth = gaussian_field(shape, pitch_m, paper.grain_m, generator)
    threshold = exceeded_by(paper.coverage)
    return paper.height * paper.grain_m * (smooth - threshold).clamp(min=0)


def diffuser_field(
    diffuser: Diffuser, optics: Optics, shape: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """Wave field right behind the diffuser, `(H, W)` complex64 at the optics' pitch.

    Multi-slice: every layer is thin, and the field propagates between layers.

    Raises:
        UsageError: the sampling cannot hold the diffuser; unknown materials; optics with a spectrum
            (a wave field has one energy: take each of `Optics.lines`).
    """
    if optics.spectrum is not None:
        raise UsageError("optics: a wave field has one energy; take each of the spectrum's lines")
    what = type(diffuser).__name__
    wavenumber_per_m = optics.geometry.wavenumber_per_m
    field = torch.ones(shape, dtype=torch.complex64, device=generator.device)
    total_rad = torch.zeros(shape, device=generator.device)
    transfers: dict[float, torch.Tensor] = {}
    for layer in diffuser.slices(optics, shape, generator):
        substance = material(layer.material, optics.energy_ev)
        phase_rad = layer.thickness_m * (wavenumber_per_m * substance.delta)
        check_phase(phase_rad, optics, what)
        total_rad += phase_rad
        field = transmit(field, layer.thickness_m, substance, wavenumber_per_m)
        if layer.behind_m:
            if layer.behind_m not in transfers:
                transfers[layer.behind_m] = _transfer(optics, shape, layer.behind_m, field)
            field = propagate(field, transfers[layer.behind_m]) * _amplitude(layer, optics)
    check_phase(total_rad, optics, what, beyond=_TOO_STEEP)
    return field


def _transfer(
    optics: Optics, shape: tuple[int, int], distance_m: float, like: torch.Tensor
) -> torch.Tensor:
    wavelength_m = optics.geometry.wavelength_m
    check_sampling(shape, optics.pitch_m, distance_m, wavelength_m)
    return transfer_function(
        shape, optics.pitch_m, distance_m, wavelength_m, like.device, like.dtype
    )


def _amplitude(layer: Slice, optics: Optics) -> float:
    """What the carrier behind a layer leaves of the amplitude."""
    if layer.carrier is None:
        return 1.0
    carrier = material(layer.carrier, optics.energy_ev)
    return math.exp(-0.5 * carrier.mu_per_m * layer.behind_m)
