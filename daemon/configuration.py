"""The configuration: TOML files and the environment, merged and checked into `Settings`.

Layers, later ones win: `config/default.toml`, the user's file, one layer for each `CADE_…`
variable. Tables are merged key by key, arrays are replaced.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from cade.errors import CadeError, UsageError
from daemon.configuration_problem import KeyPath, describe, key_path
from daemon.settings import Settings

PREFIX = "CADE_"
NOT_SETTINGS = frozenset({"CADE_TEST_DATA"})  # read by the tests, see the Makefile
WANTS_TEXT = ("string_type", "path_type")  # pydantic's names of the errors

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layer:
    """One origin of settings. `raw` is the text of an environment variable for `path`."""

    name: str
    tree: Tree
    path: KeyPath = ()
    raw: str | None = None


def load_settings(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    options: Tree | None = None,
) -> Settings:
    """The effective settings.

    Args:
        path: the user's TOML file; None = defaults and environment only.
        environment: variables such as `CADE_TRACKER__DEVICE`; None = those of the process.
        options: what the command line says, the last word; values that are None say nothing.

    Raises:
        UsageError: one line a problem: where, which key, what is wrong, what to do.
    """
    layers = [Layer("config/default.toml", parse_toml(shipped("default.toml"), "default.toml"))]
    if path is not None:
        layers.append(Layer(str(path), parse_toml(_read(path), str(path))))
    layers += _environment_layers(os.environ if environment is None else environment)
    if options is not None:
        layers.append(Layer("command line", _without_none(options)))
    try:
        return _validate(layers)
    except ValidationError as error:
        wants_text = {key_path(e["loc"]) for e in error.errors() if e["type"] in WANTS_TEXT}
    try:  # CADE_OUTPUT__PROPOSAL=20260001 looks like a number but is meant as text
        return _validate(
            [_as_text(layer) if layer.path in wants_text else layer for layer in layers]
        )
    except ValidationError as error:
        lines = [f"{_origin(layers, key_path(e['loc']))}: {describe(e)}" for e in error.errors()]
        raise UsageError("\n".join(lines)) from None


def settings_toml(settings: Settings) -> str:
    """The settings as TOML text that `load_settings` reads back; what is None is left out."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))


def settings_schema() -> str:
    """The JSON schema of the configuration, the text of `config/cade.schema.json`."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Settings.model_json_schema(),
        "title": "CADE configuration",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def shipped(name: str) -> str:
    """The text of a file in `config/`, in a checkout and in a wheel alike.

    Raises:
        CadeError: it is not there, because another package named `config` is found first.
    """
    folder = resources.files("config")
    try:
        return folder.joinpath(name).read_text(encoding="utf-8")
    except OSError:
        raise CadeError(
            f"{folder}: has no {name}, so it is not CADE's own 'config' package; "
            "install CADE into a virtual environment of its own"
        ) from None


def parse_toml(text: str, name: str) -> Tree:
    """TOML text as a tree; `name` is the file that messages name.

    Raises:
        UsageError: a syntax error, with its line.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error))
        what = found[1] if found else str(error)
        line = found[2] if found and found[2] else str(text.count("\n") + 1)
        raise UsageError(f"{name}, line {line}: not valid TOML: {what}; correct it") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); give a configuration file, or make one "
            "with 'cade config init'"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _environment_layers(environment: Mapping[str, str]) -> Iterable[Layer]:
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in NOT_SETTINGS:
            path = tuple(name.removeprefix(PREFIX).lower().split("__"))
            raw = environment[name]
            yield Layer(name, _nested(path, _value(raw)), path, raw)


def _value(raw: str) -> Any:
    """The text as one TOML value, else as it is."""
    try:
        tree = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        return raw
    return tree["value"] if len(tree) == 1 else raw


def _nested(path: KeyPath, value: Any) -> Tree:
    for part in reversed(path):
        value = {part: value}
    return value  # type: ignore[no-any-return]


def _without_none(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    kept = {key: _without_none(value) for key, value in tree.items() if value is not None}
    return {key: value for key, value in kept.items() if value != {}}


def _as_text(layer: Layer) -> Layer:
    return layer if layer.raw is None else Layer(layer.name, _nested(layer.path, layer.raw))


def _validate(layers: Iterable[Layer]) -> Settings:
    tree: Any = {}
    for layer in layers:
        tree = _merged(tree, layer.tree)
    # By way of JSON, because only there strict mode takes arrays and paths but no `size = true`.
    return Settings.model_validate_json(json.dumps(tree, default=str), strict=True)


def _merged(base: Any, over: Any) -> Any:
    """`over` laid on `base`; `{"1": …}` on an array changes its element 1."""
    if not isinstance(over, dict):
        return over
    if isinstance(base, list) and over.keys() <= {str(i) for i in range(len(base))}:
        return [_merged(b, over[str(i)]) if str(i) in over else b for i, b in enumerate(base)]
    if not isinstance(base, dict):
        return over
    return base | {key: _merged(base.get(key), value) for key, value in over.items()}


def _origin(layers: list[Layer], path: KeyPath) -> str:
    """Name of the last layer that says something at `path`, or at the nearest table above it."""
    for depth in range(len(path), 0, -1):
        for layer in reversed(layers):
            if _says(layer.tree, path[:depth]):
                return layer.name
    return layers[-1].name


def _says(tree: Any, path: KeyPath) -> bool:
    for part in path:
        if isinstance(tree, list) and part.isdecimal() and int(part) < len(tree):
            tree = tree[int(part)]
        elif isinstance(tree, dict) and part in tree:
            tree = tree[part]
        else:
            return False
    return True
