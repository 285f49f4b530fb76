"""The constants of the materials, against the tables they come from."""

from __future__ import annotations

import pytest
import xraydb

from cade.errors import UsageError
from simulator.materials import MATERIALS, REFERENCE_ENERGY_EV, Material, material


@pytest.mark.parametrize("constant", MATERIALS, ids=lambda m: m.name)
def test_constants_are_those_of_xraydb(constant: Material) -> None:
    formula, density = constant.formula, constant.density_g_cm3
    delta, _, _ = xraydb.xray_delta_beta(formula, density, REFERENCE_ENERGY_EV)
    mu_per_cm = xraydb.material_mu(formula, REFERENCE_ENERGY_EV, density=density, kind="total")
    assert constant.delta == pytest.approx(delta, rel=1e-3)
    assert constant.mu_per_m == pytest.approx(100 * mu_per_cm, rel=1e-3)


def test_attenuation_is_total_not_only_photoabsorption() -> None:
    pmma = material("pmma")
    photo_per_cm = xraydb.material_mu(
        pmma.formula, REFERENCE_ENERGY_EV, density=pmma.density_g_cm3, kind="photo"
    )
    assert pmma.mu_per_m / (100 * photo_per_cm) == pytest.approx(3.6, rel=0.05)


def test_other_energies_come_from_the_tables() -> None:
    near, far = material("alumina"), material("alumina", 60e3)
    assert near.delta / far.delta == pytest.approx(4, rel=0.01)  # far from edges δ falls as 1/E²
    assert far.mu_per_m < near.mu_per_m / 3


def test_unknown_material() -> None:
    with pytest.raises(UsageError, match=r"'kryptonite'.*alumina, cellulose, pmma"):
        material("kryptonite")
