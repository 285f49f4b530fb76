"""A polychromatic beam as energies and weights."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from cade.errors import UsageError


@dataclass(frozen=True, slots=True)
class Spectrum:
    """`lines`: (energy in eV, weight) in ascending order; the weights need not sum to one.

    A weight is what its energy contributes to the counts of an empty beam: flux times the
    detector's response.

    Raises:
        UsageError: no line, an impossible energy or weight, energies that do not ascend.
    """

    lines: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.lines:
            raise UsageError("spectrum: it has no line; give (energy in eV, weight) pairs")
        for energy_ev, weight in self.lines:
            if not (math.isfinite(energy_ev) and energy_ev > 0):
                raise UsageError(
                    f"spectrum: an energy must be a positive number of eV, not {energy_ev!r}"
                )
            if not (math.isfinite(weight) and weight >= 0):
                raise UsageError(
                    f"spectrum: the weight at {energy_ev:g} eV must not be negative, infinite or "
                    f"NaN: {weight!r}"
                )
        for (first_ev, _), (second_ev, _) in itertools.pairwise(self.lines):
            if second_ev <= first_ev:
                raise UsageError(
                    f"spectrum: energies must ascend, each once; {second_ev:g} eV follows "
                    f"{first_ev:g} eV"
                )
        if not any(weight for _, weight in self.lines):
            raise UsageError("spectrum: all weights are zero")

    @property
    def shares(self) -> tuple[tuple[float, float], ...]:
        """The lines with weights that sum to one, without those of weight zero."""
        total = math.fsum(weight for _, weight in self.lines)
        return tuple((energy, weight / total) for energy, weight in self.lines if weight > 0)

    @property
    def mean_ev(self) -> float:
        """Weighted mean energy."""
        return math.fsum(energy_ev * share for energy_ev, share in self.shares)
