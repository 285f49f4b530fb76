"""A problem of the configuration, said in one line: which key, what is wrong, what to do."""

from __future__ import annotations

import difflib
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from daemon.settings import Settings, Source

KeyPath = tuple[str, ...]

_KINDS: dict[str, type[BaseModel]] = {
    model.model_fields["kind"].default: model for model in get_args(get_args(Source)[0])
}
_SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}


def describe(error: ErrorDetails) -> str:
    """One of pydantic's errors as `key: what is wrong; what to do`."""
    path = key_path(error["loc"])
    return f"{dotted(path)}: {_trouble(error, path)}"


def key_path(location: tuple[str | int, ...]) -> KeyPath:
    """Pydantic's location as keys, indices as text and without the kind of a source."""
    parts = [str(part) for part in location]
    if len(parts) > 2 and parts[0] == "sources":
        del parts[2]
    return tuple(parts)


def dotted(path: KeyPath) -> str:
    """The path as `sources[0].endpoint`."""
    text = "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in path)
    return text.removeprefix(".") or "configuration"


def _trouble(error: ErrorDetails, path: KeyPath) -> str:
    match error["type"]:
        case "extra_forbidden":
            return f"unknown setting; the nearest known one is {_nearest(error['loc'])}"
        case "missing":
            field = _model(error["loc"]).model_fields.get(path[-1])
            return f"missing; add it ({field.description if field else 'see cade config schema'})"
        case "union_tag_not_found":
            return f"its kind is missing; add kind = {_either(_KINDS)}"
        case "union_tag_invalid":
            return f"unknown kind; it must be {_either(_KINDS)}"
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
    wanted = error["msg"].replace("Input should", "must").replace("a valid tuple", "an array")
    wanted = wanted.replace("String should", "must").replace("a valid dictionary", "a table")
    if wanted == "must be a valid string":
        wanted += " (in quotes)"
    return f"{wanted}, not {_short(error['input'])}"


def _either(names: dict[str, type[BaseModel]]) -> str:
    return " or ".join(f'"{name}"' for name in names)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _model(location: tuple[str | int, ...]) -> type[BaseModel]:
    """The section that holds the key at pydantic's location."""
    if len(location) == 1:
        return Settings
    if location[0] == "sources":
        return _KINDS[str(location[2])]
    model = _SECTIONS[str(location[0])]
    for key in location[1:-1]:  # arrays of tables in a table
        field = model.model_fields.get(str(key))
        inner = get_args(field.annotation)[:1] if field is not None else ()
        if inner and isinstance(inner[0], type) and issubclass(inner[0], BaseModel):
            model = inner[0]
    return model


def _nearest(location: tuple[str | int, ...]) -> str:
    """The known key most like this one: the same name elsewhere, else the nearest by spelling."""
    key = str(location[-1])
    for section, model in _SECTIONS.items():
        if key in model.model_fields:
            return f"'{section}.{key}'"
    if key in Settings.model_fields:
        return f"'{key}' at the top, before the first [table]"
    known = list(_model(location).model_fields)
    return f"'{difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]}'"
