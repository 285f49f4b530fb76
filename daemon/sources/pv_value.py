"""What the value of a process variable means."""

from __future__ import annotations

import math

import numpy as np

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
    text = _text(value, states).strip().lower()
    if not text:
        return None
    roles = {str(number): role for number, role in enumerate(Role)}
    roles.update({str(role): role for role in Role})
    number = text.rstrip("0").removesuffix(".") if "." in text else text  # "1.00" is 1
    if number not in roles:
        raise ValueError(f"{text[:40]!r} is not one of {', '.join(Role)} or 0 to {len(Role) - 1}")
    return roles[number]


def _text(value: Value, states: tuple[str, ...]) -> str:
    if isinstance(value, int) and 0 <= value < len(states) and states[value]:
        return states[value]
    if isinstance(value, np.ndarray):  # areaDetector keeps long texts in arrays of characters
        characters = value.astype(np.uint8).tobytes().split(b"\0")[0]
        return characters.decode("utf-8", "replace")
    return str(value)
