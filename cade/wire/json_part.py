"""A part of a message that is one JSON object."""

from __future__ import annotations

import json

from cade.wire.codec import WireError
from cade.wire.fields import shown

MAX_JSON_BYTES = 1 << 20


def json_object(data: memoryview, name: str = "the header") -> dict[str, object]:
    """The object that `data` holds; `name` says in errors which part it is.

    Raises:
        WireError: not one JSON object, or more than `MAX_JSON_BYTES`.
    """
    if len(data) > MAX_JSON_BYTES:
        raise WireError(f"{name} has {len(data)} bytes, more than {MAX_JSON_BYTES}")
    try:
        value = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise WireError(f"{name} is no JSON ({error!s:.80})") from None
    if not isinstance(value, dict):
        raise WireError(f"{name} must be a JSON object, not {shown(value)}")
    return value


def tagged_object(data: memoryview, htype: str) -> dict[str, object]:
    """An object whose `htype` is this one."""
    value = json_object(data, f"the {htype} part")
    if value.get("htype") != htype:
        raise WireError(f"htype must be {htype}, not {shown(value.get('htype'))}")
    return value
