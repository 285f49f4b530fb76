"""The constants of the materials, against the tables they come from."""

from __future__ import annotations

import math
import sys

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


def test_materials_of_xraydb_by_name() -> None:
    gold = material(" Gold", 25e3)
    assert (gold.formula, gold.density_g_cm3, gold.energy_ev) == ("Au", 19.3, 25e3)
    assert gold.mu_per_m == pytest.approx(
        100 * xraydb.material_mu("gold", 25e3, kind="total"), rel=1e-6
    )
    assert material("pmma", 25e3).density_g_cm3 == material("pmma").density_g_cm3  # ours first


@pytest.mark.parametrize("text", ["Al2O3 3.95", "Al2O3, 3.95"])
def test_formula_and_density(text: str) -> None:
    stated, known = material(text), material("alumina")
    assert stated.delta == pytest.approx(known.delta, rel=1e-3)
    assert stated.mu_per_m == pytest.approx(known.mu_per_m, rel=1e-3)


def test_a_material_goes_to_another_energy() -> None:
    assert material(material("alumina"), 60e3) == material("alumina", 60e3)
    assert material("water", 20e3).at(25e3) == material("water", 25e3)
    by_hand = Material("glass", "", 1.0, 1e-6, 0.0)
    assert material(by_hand) is by_hand
    with pytest.raises(UsageError, match=r"'glass'.*no formula"):
        material(by_hand, 25e3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kryptonite", r"'kryptonite'; near it: krypton.*alumina, cellulose, pmma.*'Al2O3 3.95'"),
        ("aluminium", r"near it:.*aluminum"),
        ("Al2O3", r"unknown material 'Al2O3'; near it: sapphire;.*formula and density"),
        ("", r"unknown material ''; known are"),
        ("Xx2 3.0", r"'Xx2' is no formula of elements"),
        ("H2O) 1.0", "is no formula"),
        ("Cf 15.1", "elements from H to U"),
        ("Fe0 1.0", "is no formula"),
        ("Al2O3 3950", "at most 25 g/cm³, not 3950"),
        ("Al2O3 0", "density must be positive"),
        ("Al2O3 nan", "density must be positive"),
    ],
)
def test_unknown_material(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        material(text)


@pytest.mark.parametrize("energy_ev", [0.0, -1.0, 99.9, 800.1e3, math.inf, math.nan])
def test_energies_outside_the_tables(energy_ev: float) -> None:
    with pytest.raises(UsageError, match=r"'alumina'.*from 100 eV to 800 keV"):
        material("alumina", energy_ev)


@pytest.mark.parametrize("energy_ev", [100.0, 800e3])
def test_energies_at_the_ends_of_the_tables(energy_ev: float) -> None:
    assert material("alumina", energy_ev).delta > 0


def test_constants_need_no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xraydb", None)  # as if it were not installed
    assert material("alumina").delta == MATERIALS[0].delta
    for name, energy_ev in (("alumina", 25e3), ("water", 30e3)):
        with pytest.raises(UsageError, match=r"without xraydb only alumina.*cade-daemon\[train\]"):
            material(name, energy_ev)
