"""Roles by the states of PVs: rules in order, all conditions of one, and what is not known."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cade.frames import Role
from daemon.settings import EpicsSettings
from daemon.sources.epics_roles import UNKNOWN, RoleByPv, StatedRole
from daemon.sources.pv_board import INVALID, PvState
from daemon.sources.pv_report import PvReport

RULES = [
    {"role": "dark", "when": [{"pv": "shutter", "equals": "closed"}]},
    {"role": "sample", "when": [{"pv": "stage", "equals": 12.5, "tolerance": 0.1}]},
    {
        "role": "flat",
        "when": [
            {"pv": "stage", "equals": 0, "tolerance": 0.1},
            {"pv": "diffuser", "equals": 50, "tolerance": 1},
        ],
    },
    {"role": "reference", "when": [{"pv": "stage", "equals": 0, "tolerance": 0.1}]},
]
OPEN = {"shutter": (0, ("Open", "Closed")), "stage": 12.5, "diffuser": 0.0}


def state(value: object, severity: int = 0) -> PvState:
    value, states = value if isinstance(value, tuple) else (value, ())
    return PvState(
        connected=True,
        value=value,
        states=states,
        severity=severity,
        status=9,
        has_value=True,
        has_properties=True,
    )


def stated(rules: object = RULES, **values: object) -> StatedRole:
    settings = EpicsSettings.model_validate({"roles": rules})
    states = {
        name: value if isinstance(value, PvState) else state(value)
        for name, value in {**OPEN, **values}.items()
    }
    return RoleByPv(settings, PvReport()).stated(states.__getitem__)


@pytest.mark.parametrize(
    ("values", "role"),
    [
        ({}, Role.SAMPLE),
        ({"stage": 12.6}, Role.SAMPLE),
        ({"stage": 12.4}, Role.SAMPLE),
        ({"stage": 0.05}, Role.REFERENCE),
        ({"stage": -0.1}, Role.REFERENCE),
        ({"stage": 0.0, "diffuser": 50.5}, Role.FLAT),
        ({"shutter": (1, ("Open", "Closed"))}, Role.DARK),
        ({"shutter": "CLOSED", "stage": PvState()}, Role.DARK),
        ({"diffuser": PvState()}, Role.SAMPLE),  # asked only where it matters
    ],
)
def test_the_first_rule_that_holds_decides(values: dict[str, object], role: Role) -> None:
    assert stated(**values) == StatedRole(role)


def test_none_holds() -> None:
    found = stated(stage=6.2)
    assert (found.role, found.known) == (None, True)
    assert found.problem == (
        "no rule of epics.roles holds: shutter is Open, stage is 6.2, diffuser is 0"
    )


def test_a_rule_without_conditions_takes_the_rest() -> None:
    rest = [*RULES, {"role": "sample", "when": []}]
    assert stated(rest, stage=6.2) == StatedRole(Role.SAMPLE)


@pytest.mark.parametrize(
    "values",
    [
        {"stage": PvState()},
        {"stage": state(12.5, INVALID)},
        {"stage": "in"},
        {"stage": float("nan")},
        {"shutter": PvState(value=0, states=("Open", "Closed"))},  # what it was before
        {"stage": 0.0, "diffuser": PvState()},  # flat or reference
    ],
)
def test_what_is_not_known_is_not_guessed(values: dict[str, object]) -> None:
    assert stated(**values) == UNKNOWN


def test_a_value_that_cannot_be_used_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    report = PvReport()
    settings = EpicsSettings.model_validate({"roles": RULES})
    states = {name: state(value) for name, value in {**OPEN, "stage": "in"}.items()}
    for _ in range(2):
        RoleByPv(settings, report).stated(states.__getitem__)
    assert report.counts() == {"stage": 2}
    assert [r.getMessage() for r in caplog.records] == [
        "PV is the text 'in', not a number; epics.roles cannot use it"
    ]


def test_a_name() -> None:
    by_name = RoleByPv(EpicsSettings(role_pv="role"), PvReport())
    assert by_name.stated(lambda _: state("dark")) == StatedRole(Role.DARK)
    assert by_name.stated(lambda _: state("")) == StatedRole()
    assert by_name.stated(lambda _: state("drak")) == StatedRole()
    assert by_name.stated(lambda _: PvState()) == UNKNOWN
    assert RoleByPv(EpicsSettings(), PvReport()).stated(lambda _: PvState()) == StatedRole()


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"roles": RULES, "role_pv": "role"}, "role_pv and roles both state the role"),
        ({"roles": [{"role": "dark", "when": [{"pv": "a b", "equals": 1}]}]}, "match pattern"),
        (
            {"roles": [{"role": "dark", "when": [{"pv": "a", "equals": "in", "tolerance": 1}]}]},
            "tolerance goes with a number",
        ),
        (
            {"roles": [{"role": "dark", "when": [{"pv": "a", "equals": float("nan")}]}]},
            "equals must be a finite number or a text",
        ),
        ({"roles": [{"role": "drak", "when": []}]}, "Input should be 'sample'"),
    ],
)
def test_rules_that_cannot_be(table: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        EpicsSettings.model_validate(table)
