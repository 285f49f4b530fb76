"""Refractive index decrement and attenuation of the materials that the simulator uses.

n = 1 − δ + iβ. Attenuation is the *total* coefficient μ (photo-absorption and scattering), because
that is what a transmission image sees; for light materials β from photo-absorption alone would be
several times too small (PMMA at 30 keV: 3.6-fold).
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from types import ModuleType

from cade.errors import UsageError

REFERENCE_ENERGY_EV = 30e3
"""The paper's energy, at which the constants below hold."""
ENERGIES_EV = (100.0, 800e3)
"""What the tables of xraydb cover (Elam's; Chantler's reach further on both sides). Outside, xraydb
goes on with the value at the end."""
_HEAVIEST_G_CM3 = 25.0
_HOW = "any other is stated as formula and density in g/cm³, as in 'Al2O3 3.95'"


@dataclass(frozen=True, slots=True)
class Material:
    """A homogeneous material at one energy: `delta` dimensionless, `mu_per_m` in 1/m."""

    name: str
    formula: str
    density_g_cm3: float
    delta: float
    mu_per_m: float
    energy_ev: float = REFERENCE_ENERGY_EV

    def at(self, energy_ev: float) -> Material:
        """The same material at another energy, from the tables.

        Raises:
            UsageError: as `from_tables`.
        """
        if energy_ev == self.energy_ev:
            return self
        return from_tables(self.name, self.formula, self.density_g_cm3, energy_ev)


MATERIALS: tuple[Material, ...] = (
    Material("alumina", "Al2O3", 3.95, 8.941e-7, 306.17),
    Material("cellulose", "C6H10O5", 1.5, 3.669e-7, 48.377),
    Material("pmma", "C5H8O2", 1.18, 2.935e-7, 35.779),
)
"""Values at 30 keV from xraydb 4.5 (`xray_delta_beta`, `material_mu` total)."""


def material(name: str | Material, energy_ev: float = REFERENCE_ENERGY_EV) -> Material:
    """A material at an energy; xraydb (extra `train`) knows all but `MATERIALS` at 30 keV.

    Args:
        name: one of `MATERIALS`, of xraydb's list (`water`, `kapton`, `gold` …), or formula and
            density in g/cm³, as in `"SiO2 2.2"`; or a material, which is taken to the energy.
        energy_ev: photon energy.

    Raises:
        UsageError: unknown (near ones are listed), or not in the tables at this energy.
    """
    if isinstance(name, Material):
        return name.at(energy_ev)
    found = next((m for m in MATERIALS if m.name == name.strip().lower()), None)
    if found is not None:
        return found.at(energy_ev)
    return from_tables(*_composition(name), energy_ev)


def from_tables(name: str, formula: str, density_g_cm3: float, energy_ev: float) -> Material:
    """Any compound at any energy, from the tables of xraydb.

    Raises:
        UsageError: no such formula, an impossible density, or an energy outside `ENERGIES_EV`.
    """
    lowest_ev, highest_ev = ENERGIES_EV
    if not lowest_ev <= energy_ev <= highest_ev:
        raise UsageError(
            f"material {name!r}: the tables reach from {lowest_ev:g} eV to {highest_ev / 1e3:g} "
            f"keV; {energy_ev!r} eV is outside"
        )
    if not 0 < density_g_cm3 <= _HEAVIEST_G_CM3:
        raise UsageError(
            f"material {name!r}: the density must be positive and at most {_HEAVIEST_G_CM3:g} "
            f"g/cm³, not {density_g_cm3!r}"
        )
    xraydb = _tables(name)
    try:
        delta, _, _ = xraydb.xray_delta_beta(formula, density_g_cm3, energy_ev)
        mu_per_cm = xraydb.material_mu(formula, energy_ev, density=density_g_cm3, kind="total")
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise UsageError(
            f"material {name!r}: {formula!r} is no formula of elements from H to U, such as "
            f"'Al2O3' or 'C5H8O2'"
        ) from error
    if not (math.isfinite(delta) and mu_per_cm >= 0):
        raise UsageError(f"material {name!r}: the tables have no index at {energy_ev:g} eV")
    mu_per_m = 100 * float(mu_per_cm)
    return Material(name, formula, density_g_cm3, float(delta), mu_per_m, energy_ev)


def _tables(name: str) -> ModuleType:
    try:
        import xraydb
    except ImportError as error:
        known = ", ".join(m.name for m in MATERIALS)
        raise UsageError(
            f"material {name!r}: without xraydb only {known} are known, and at 30 keV only; "
            f"pip install 'cade-daemon[train]' brings it"
        ) from error
    module: ModuleType = xraydb
    return module


def _composition(text: str) -> tuple[str, str, float]:
    """Name, formula and density in g/cm³ of what xraydb's list has, or of "formula density"."""
    listed = _tables(text).get_materials()
    name = text.strip().lower()
    if name in listed and listed[name].density > 0:
        return name, listed[name].formula, listed[name].density
    words = text.replace(",", " ").split()
    if len(words) == 2:
        try:
            return text, words[0], float(words[1])
        except ValueError:
            pass
    known = [m.name for m in MATERIALS]
    same = [entry for entry, made in listed.items() if made.formula == text.strip()]
    near = same or difflib.get_close_matches(name, [*known, *listed], n=4, cutoff=0.5)
    hint = f"near it: {', '.join(near)}; " if near else ""
    raise UsageError(
        f"unknown material {text!r}; {hint}known are {', '.join(known)} and the materials of "
        f"xraydb; {_HOW}"
    )
