"""What the values of process variables mean, whatever they are."""

from __future__ import annotations

import numpy as np
import pytest

from cade.frames import Role
from daemon.sources.pv_value import is_near, level_of, number_of, role_of_value, si_value, text_of


@pytest.mark.parametrize(
    ("value", "states", "role"),
    [
        ("reference", (), Role.REFERENCE),
        (" Dark\n", (), Role.DARK),
        ("2", (), Role.FLAT),
        (0, (), Role.SAMPLE),
        (3.0, (), Role.DARK),
        (1, ("dark", "flat"), Role.FLAT),
        (1, ("", ""), Role.REFERENCE),
        (np.frombuffer(b"flat\0xx", "u1"), (), Role.FLAT),
        ("", (), None),
    ],
)
def test_role_of_a_value(value: object, states: tuple[str, ...], role: Role | None) -> None:
    assert role_of_value(value, states) is role


@pytest.mark.parametrize(
    ("value", "states"),
    [
        ("sampel", ()),
        (4, ()),
        (-1, ("sample",)),
        (1.5, ()),
        (float("nan"), ()),
        (float("inf"), ()),
        (0, ("Off", "On")),
        ("\u00b2", ()),
    ],
)
def test_value_that_is_no_role(value: object, states: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="is not one of sample, reference, flat, dark or 0 to 3"):
        role_of_value(value, states)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (1, True),
        (0, False),
        (0.0, False),
        (5, True),
        ("1", True),
        ("Done", None),
        (float("nan"), None),
        (np.arange(3), None),
        (None, None),
    ],
)
def test_level(value: object, level: bool | None) -> None:
    assert level_of(value) is level


@pytest.mark.parametrize(
    ("value", "number"), [(30, 30.0), (-1.5, -1.5), (np.float64(2.0), 2.0), (True, 1.0)]
)
def test_number(value: object, number: float) -> None:
    assert number_of(value) == number


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("thirty", "is the text 'thirty', not a number"),
        ("30", "is the text '30', not a number"),
        (np.arange(3.0), "is an array of 3 values, not one number"),
        (["a"], "is an array of 1 values, not one number"),
        (float("nan"), "is nan, not a finite number"),
        (float("-inf"), "is -inf, not a finite number"),
        (None, "is 'None', not a number"),
    ],
)
def test_no_number(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        number_of(value)


@pytest.mark.parametrize(
    ("value", "states", "text"),
    [
        (" a b ", (), "a b"),
        (np.frombuffer("µ\0x".encode(), "u1"), (), "µ"),
        (np.frombuffer(b"\xff", "i1"), (), "\ufffd"),
        (np.array([], "u1"), (), ""),
        (1, ("Open", "Closed"), "Closed"),
        (2, ("Open", "Closed"), "2"),
        (20260001.0, (), "20260001"),
        (1.5, (), "1.5"),
    ],
)
def test_text(value: object, states: tuple[str, ...], text: str) -> None:
    assert text_of(value, states) == text


@pytest.mark.parametrize("value", [np.array([200, 300], "u2"), ["a", "b"]])
def test_no_text(value: object) -> None:
    with pytest.raises(ValueError, match="is an array of 2 values, not one text"):
        text_of(value)
    with pytest.raises(ValueError, match="is 'None', not a text"):
        text_of(None)


@pytest.mark.parametrize(
    ("number", "near"), [(12.5, True), (12.6, True), (12.4, True), (12.61, False), (-12.5, False)]
)
def test_near(number: float, near: bool) -> None:
    assert is_near(number, 12.5, 0.1) is near
    assert is_near(12.5, 12.5, 0.0)
    assert not is_near(12.5001, 12.5, 0.0)


@pytest.mark.parametrize(
    ("number", "units", "use", "si"),
    [
        (30.0, "keV", "energy", 30e3),
        (2500.0, " mm ", "distance", 2.5),
        (6.5, "µm", "pixel_size", 6.5e-6),
        (100.0, "ms", "exposure", 0.1),
        (2.0, "seconds", "exposure", 2.0),
        (-3.0, "mm", "diffuser", -3e-3),
        (0.0, "mm", "diffuser", 0.0),
    ],
)
def test_si_units(number: float, units: str, use: str, si: float) -> None:
    assert si_value(number, units, use) == pytest.approx(si)


@pytest.mark.parametrize(
    ("number", "units", "use", "problem"),
    [
        (30.0, "", "energy", "has no units; set `units` to one of ev, kev"),
        (30.0, "mm", "energy", "has units 'mm'; set `units` to one of ev, kev"),
        (-30.0, "keV", "energy", "is -30 keV, which is out of range for use = 'energy'"),
        (0.0, "m", "distance", "is 0 m, which is out of range"),
    ],
)
def test_no_quantity(number: float, units: str, use: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        si_value(number, units, use)
