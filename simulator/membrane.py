"""Membrane filters: two phases, solid and pore, in a random order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from cade.errors import UsageError
from simulator.diffuser import Slice
from simulator.materials import Material
from simulator.optics import Optics
from simulator.random_field import exceeded_by, gaussian_field
from simulator.sampling import check_detail

CELLULOSE_NITRATE = "C6H7N3O11 1.66"
_EDGE_SAMPLES = 2.0
"""Over which the wall of a pore rises: a sharp one would alias."""


@dataclass(frozen=True, slots=True)
class Membrane:
    """Stacked porous sheets, such as cellulose-nitrate filters.

    A sheet is thickness/pore independent levels, each a two-phase random field: solid where a
    Gaussian field of correlation length `pore_m` (FWHM) exceeds what leaves the porosity open.
    Diffraction inside one sheet is neglected (λ·thickness ≪ pore²), between sheets it is not.

    Args:
        pore_m: size of the pores.
        porosity: share of the volume that is open.
        thickness_m: of one sheet.
        sheets: how many, one behind the other.
        solid: what the walls are made of.

    Raises:
        UsageError: a value that no membrane has.
    """

    pore_m: float
    porosity: float = 0.7
    thickness_m: float = 120e-6
    sheets: int = 1
    solid: str | Material = CELLULOSE_NITRATE

    def __post_init__(self) -> None:
        if not 0 < self.pore_m <= 1e-3:
            raise UsageError(
                f"membrane: pore_m is the pore size in metres, up to 1e-3, not {self.pore_m!r}"
            )
        if not 0 < self.porosity < 1:
            raise UsageError(
                f"membrane: porosity is the open share of the volume between 0 and 1, not "
                f"{self.porosity!r}"
            )
        if not self.pore_m <= self.thickness_m <= 0.01:
            raise UsageError(
                f"membrane: thickness_m must be at least the pore size ({self.pore_m!r} m) and at "
                f"most 0.01 m, not {self.thickness_m!r}"
            )
        if not 1 <= self.sheets <= 1000:
            raise UsageError(f"membrane: sheets must be 1 to 1000, not {self.sheets!r}")

    @property
    def levels(self) -> int:
        """Independent levels in one sheet."""
        return round(self.thickness_m / self.pore_m)

    def slices(
        self, optics: Optics, shape: tuple[int, int], generator: torch.Generator
    ) -> Iterator[Slice]:
        """One for each sheet."""
        check_detail(self.pore_m, optics, "membrane: pores")
        for _ in range(self.sheets):
            thickness_m = membrane_thickness(self, shape, optics.pitch_m, generator)
            behind_m = self.thickness_m if self.sheets > 1 else 0.0
            yield Slice(thickness_m, self.solid, behind_m)


def membrane_thickness(
    membrane: Membrane, shape: tuple[int, int], pitch_m: float, generator: torch.Generator
) -> torch.Tensor:
    """Solid thickness in m along the beam through one sheet, periodic, `(H, W)` float32."""
    threshold = exceeded_by(1 - membrane.porosity)
    # The field's gradient has the standard deviation 2.355/pore along each axis.
    rise = _EDGE_SAMPLES * pitch_m * 2 * math.sqrt(2 * math.log(2)) / membrane.pore_m
    solid = torch.zeros(shape, device=generator.device)
    for _ in range(membrane.levels):
        smooth = gaussian_field(shape, pitch_m, membrane.pore_m, generator)
        solid += ((smooth - threshold) / rise + 0.5).clamp_(0, 1)
    return solid * (membrane.thickness_m / membrane.levels)
