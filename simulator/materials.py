"""Refractive index decrement and attenuation of the materials that the simulator uses.

n = 1 − δ + iβ. Attenuation is the *total* coefficient μ (photo-absorption and scattering), because
that is what a transmission image sees; for light materials β from photo-absorption alone would be
several times too small (PMMA at 30 keV: 3.6-fold).
"""

from __future__ import annotations

from dataclasses import dataclass

from cade.errors import UsageError

REFERENCE_ENERGY_EV = 30e3
"""The paper's energy, at which the constants below hold."""


@dataclass(frozen=True, slots=True)
class Material:
    """A homogeneous material at one energy: `delta` dimensionless, `mu_per_m` in 1/m."""

    name: str
    formula: str
    density_g_cm3: float
    delta: float
    mu_per_m: float


MATERIALS: tuple[Material, ...] = (
    Material("alumina", "Al2O3", 3.95, 8.941e-7, 306.17),
    Material("cellulose", "C6H10O5", 1.5, 3.669e-7, 48.377),
    Material("pmma", "C5H8O2", 1.18, 2.935e-7, 35.779),
)
"""Values at 30 keV from xraydb 4.5 (`xray_delta_beta`, `material_mu` total)."""


def material(name: str, energy_ev: float = REFERENCE_ENERGY_EV) -> Material:
    """The material of that name; at other energies than 30 keV through xraydb (extra `train`).

    Raises:
        UsageError: the name is unknown; the known ones are listed.
    """
    found = next((m for m in MATERIALS if m.name == name), None)
    if found is None:
        known = ", ".join(m.name for m in MATERIALS)
        raise UsageError(f"unknown material {name!r}; known are {known}")
    if energy_ev == REFERENCE_ENERGY_EV:
        return found
    return from_tables(found.name, found.formula, found.density_g_cm3, energy_ev)


def from_tables(name: str, formula: str, density_g_cm3: float, energy_ev: float) -> Material:
    """Any compound at any energy, from the tables of xraydb."""
    import xraydb

    delta, _, _ = xraydb.xray_delta_beta(formula, density_g_cm3, energy_ev)
    mu_per_cm = xraydb.material_mu(formula, energy_ev, density=density_g_cm3, kind="total")
    return Material(name, formula, density_g_cm3, float(delta), float(mu_per_cm) * 100)
