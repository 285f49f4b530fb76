"""One field of a decoded message: its value in the right type, or a word on what is wrong."""

from __future__ import annotations

import contextlib
import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cade.frames import Role
from cade.wire.codec import Buffer, WireError

Fields = Mapping[Any, object]

DTYPES = frozenset(f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)) | {
    "float16",
    "float32",
    "float64",
}
"""What the pixels of an image may be."""

MAX_TEXT = 200
"""Longest name (series, source) in characters; they end up in file names and logs."""

MAX_SHOWN = 60
"""Longest value in an error message, in characters."""

MOST_MONITOR = 1e300
"""Larger ones are no measurement, and integers without end fit no float."""

MAX_USER_TEXT = 1 << 20
"""Longest text of a user that is looked into, in characters."""


class _Brief(reprlib.Repr):
    """Looks at the beginning of a value only, however long or deeply nested it is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = MAX_SHOWN

    def repr_memoryview(self, data: memoryview, _: int) -> str:
        return f"{len(data)} bytes"


def shown(value: object) -> str:
    """A value as an error message may show it: escaped and short."""
    text = _Brief().repr(value)
    if len(text) > MAX_SHOWN:
        text = f"{text[: MAX_SHOWN - 3]}..."
    return "".join(letter if letter.isprintable() else " " for letter in text)


def integer(fields: Fields, key: str) -> int:
    """A whole number from 0 that fits 63 bits."""
    value = fields.get(key)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise WireError(f"{key} must be a whole number from 0, not {shown(value)}")
    return value


def announced(*factors: int) -> int | None:
    """How many images a start message announces: the product; None for 0, which says nothing."""
    count = math.prod(factors)
    if count >= 1 << 63:
        raise WireError(f"the number of images must fit 63 bits, not be {shown(count)}")
    return count or None


def number(fields: Fields, key: str) -> float | None:
    """A finite number, None where the field is missing or null."""
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireError(f"{key} must be a number, not {shown(value)}")
    try:
        converted = float(value)
    except OverflowError:
        converted = math.inf
    if not math.isfinite(converted):
        raise WireError(f"{key} must be a finite number, not {shown(value)}")
    return converted


def quantity(fields: Fields, key: str) -> float | None:
    """A positive number; detectors send 0 where they do not know, which is None here."""
    value = number(fields, key)
    return value if value is not None and value > 0 else None


def text(fields: Fields, key: str) -> str:
    """A short printable text."""
    value = fields.get(key)
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise WireError(
            f"{key} must be a printable text of at most {MAX_TEXT} characters, not {shown(value)}"
        )
    return value


def role(value: object, key: str) -> Role | None:
    """The role that a field names in any letter case, None where it is missing or empty."""
    if value is None or value == "":
        return None
    try:
        return Role(value.strip().lower())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        known = ", ".join(Role)
        raise WireError(f"{key} is {shown(value)}, not one of {known}") from None


def user_role(user_data: object, key: str) -> Role | None:
    """The role in what a user adds to a stream: `{key: role}`, that as JSON, or just a role.

    Anything else is the user's own affair, and names no role.
    """
    user_data = _user_data(user_data)
    if isinstance(user_data, str) and user_data.strip().lower() in set(Role):
        return Role(user_data.strip().lower())
    return role(user_data.get(key), f"user_data[{key!r}]") if isinstance(user_data, dict) else None


def user_monitor(user_data: object) -> float | None:
    """The beam's monitor in what a user adds to an image: `{"monitor": 1.5}`, or that as JSON.

    Whether anything can be divided by it is not looked at.
    """
    user_data = _user_data(user_data)
    value = user_data.get("monitor") if isinstance(user_data, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MOST_MONITOR:
        return None
    return float(value)


def _user_data(user_data: object) -> object:
    """With a text of JSON decoded."""
    if isinstance(user_data, str) and len(user_data) <= MAX_USER_TEXT:
        with contextlib.suppress(ValueError, RecursionError):  # else it is plain text
            return json.loads(user_data)
    return user_data


def pixel_type(fields: Fields, key: str, order: str = "<") -> np.dtype[Any]:
    """The numbers of the pixels by their name, such as uint16, in byte order `<` or `>`."""
    name = text(fields, key)
    if name not in DTYPES:
        raise WireError(f"{key} {shown(name)} is not known")
    return np.dtype(name).newbyteorder("<" if order == "<" else ">")


def image_shape_xy(dimensions: object, key: str) -> tuple[int, int]:
    """`(H, W)` from `[W, H, ...]`, where what stands behind must be 1."""
    return image_shape(dimensions[::-1] if isinstance(dimensions, list) else dimensions, key)


def image_shape(dimensions: object, key: str) -> tuple[int, int]:
    """`(H, W)` from `[..., H, W]`, where what stands before must be 1."""
    if not isinstance(dimensions, list | tuple):
        raise WireError(f"{key} must be a list, not {shown(dimensions)}")
    if not all(type(n) is int and 1 <= n < 1 << 31 for n in dimensions):
        raise WireError(f"{key} must hold positive whole numbers, not {shown(dimensions)}")
    if len(dimensions) < 2 or any(n != 1 for n in dimensions[:-2]):
        raise WireError(f"{key} must be that of one image, not {shown(dimensions)}")
    return dimensions[-2], dimensions[-1]


def image_bytes(shape: tuple[int, int], dtype: np.dtype[Any], max_bytes: int) -> int:
    """Size of an image in bytes, refused above the limit: nothing is allocated before this."""
    size = shape[0] * shape[1] * dtype.itemsize
    if size > max_bytes:
        raise WireError(
            f"an image of {shape[0]} x {shape[1]} {dtype.name} has {size} bytes, "
            f"more than the {max_bytes} allowed"
        )
    return size


def views(parts: Sequence[Buffer], max_bytes: int, *counts: int) -> list[memoryview]:
    """The parts of a message as bytes, if there are as many as expected and not too large.

    Without `counts` there may be any number.
    """
    if counts:
        expect_parts(parts, *counts)
    found = [memoryview(part).cast("B").toreadonly() for part in parts]
    size = sum(part.nbytes for part in found)
    if size > max_bytes:
        raise WireError(f"the message has {size} bytes, more than the {max_bytes} allowed")
    return found


def expect_parts(parts: Sequence[Buffer], *counts: int) -> None:
    """Refuse a message that has not one of these numbers of parts."""
    if len(parts) not in counts:
        raise WireError(f"the message has {len(parts)} parts, not {' or '.join(map(str, counts))}")
