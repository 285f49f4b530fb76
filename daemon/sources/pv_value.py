"""What the value of a process variable means."""

from __future__ import annotations

import math

import numpy as np

from cade.files.nexus_beamline import ENERGY_EV, LENGTH_M, TIME_S
from cade.frames import Role

Value = object
"""What Channel Access delivers: str, int, float, or an array of one of them."""


def level_of(value: Value) -> bool | None:
    """Whether a PV is on, that is not 0; None where the value is no number."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number != 0


def role_of_value(value: Value, states: tuple[str, ...] = ()) -> Role | None:
    """The role that a PV states by name or by number; None where it states nothing.

    Args:
        value: a role's name, or its place in `Role`: 0 sample, 1 reference, 2 flat, 3 dark.
        states: names of an enumeration's states; where the present one has a name, the name counts.

    Raises:
        ValueError: it is neither.
    """
    text = text_of(value, states).lower()
    if not text:
        return None
    roles = {str(number): role for number, role in enumerate(Role)}
    roles.update({str(role): role for role in Role})
    number = text.rstrip("0").removesuffix(".") if "." in text else text  # "1.00" is 1
    if number not in roles:
        raise ValueError(f"{text[:40]!r} is not one of {', '.join(Role)} or 0 to {len(Role) - 1}")
    return roles[number]


def number_of(value: Value) -> float:
    """The finite number that a PV has; that of the state where it is an enumeration.

    Raises:
        ValueError: it is a text, an array, NaN or infinite.
    """
    if isinstance(value, str):
        raise ValueError(f"is the text {value[:40]!r}, not a number")
    if isinstance(value, np.ndarray | list | tuple):
        raise ValueError(f"is an array of {len(value)} values, not one number")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"is {str(value)[:40]!r}, not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"is {number}, not a finite number")
    return number


def text_of(value: Value, states: tuple[str, ...] = ()) -> str:
    """The text that a PV has, without blanks around it: the name of the state of an enumeration.

    Raises:
        ValueError: it is an array of something else than characters.
    """
    if isinstance(value, int) and 0 <= value < len(states) and states[value]:
        return states[value].strip()
    if isinstance(value, np.ndarray) and value.dtype.itemsize == 1:
        # areaDetector keeps long texts in arrays of characters
        return value.tobytes().split(b"\0")[0].decode("utf-8", "replace").strip()
    if isinstance(value, np.ndarray | list | tuple):
        raise ValueError(f"is an array of {len(value)} values, not one text")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # a proposal's number in an analogue record
    if not isinstance(value, str | int | float | np.number):
        raise ValueError(f"is {str(value)[:40]!r}, not a text")
    return str(value).strip()


def is_near(number: float, wanted: float, tolerance: float) -> bool:
    """Whether a number is within a tolerance; what rounding to decimals leaves does not count."""
    slack = 1e-9 * max(abs(number), abs(wanted), tolerance)
    return abs(number - wanted) <= tolerance + slack


_QUANTITIES = {
    "energy": ENERGY_EV,
    "distance": LENGTH_M,
    "source_distance": LENGTH_M,
    "pixel_size": LENGTH_M,
    "diffuser": LENGTH_M,
    "exposure": TIME_S,
}
_MAY_BE_ANY = ("diffuser",)


def si_value(number: float, units: str, use: str) -> float:
    """A quantity in SI units: eV, m or s.

    Args:
        number: in `units`.
        units: as the configuration or the record gives them.
        use: energy, distance, source_distance, pixel_size, diffuser or exposure.

    Raises:
        ValueError: the units are missing or unknown, or no such quantity has this value.
    """
    known = _QUANTITIES[use]
    unit = units.strip().lower()
    factor = known.get(unit) or known.get(unit.removesuffix("s"))
    if factor is None:
        stated = f"has units {units!r}" if unit else "has no units"
        raise ValueError(f"{stated}; set `units` to one of {', '.join(known)}")
    if number <= 0 and use not in _MAY_BE_ANY:
        raise ValueError(f"is {number:g} {units}, which is out of range for use = {use!r}")
    return number * factor
