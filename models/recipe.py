"""Training recipes: TOML files that say everything a training run depends on."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from cade.errors import UsageError
from models.loss import Reduction


@dataclass(frozen=True, slots=True)
class NetworkRecipe:
    """Which network, and its options (`models.architectures`).

    `cade train --from` gives a recipe without options those of the weights that it begins with.
    """

    architecture: str = "cade"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """Patterns and what is drawn from them; see `simulator.pairs.PairSettings`.

    `visibility` "own" leaves patterns their contrast. `epoch_pairs` is how many pairs an epoch is.
    `pattern_sets` are files of patterns to take instead of making `patterns` of `pattern_px`;
    `stored` is a file of pairs to take, and nothing is drawn then but their order.
    """

    patterns: int = 320
    pattern_px: int = 256
    crop_px: int = 112
    visibility: tuple[float, float] | Literal["own"] = (0.05, 0.6)
    counts: tuple[float, float] = (200.0, 30_000.0)
    transmission: tuple[float, float] = (0.2, 1.0)
    flat: float = 0.5
    focusing: float = 0.5
    deformation: Literal["wide", "paper"] = "wide"
    wide: float = 0.35
    coarse_px: float = 1.25
    epoch_pairs: int = 0
    pattern_sets: tuple[str, ...] = ()
    stored: str = ""


@dataclass(frozen=True, slots=True)
class OptimiserRecipe:
    """How the weights move.

    The learning rate's schedule is `steps` long, or, where that is not 0, `epochs` of
    `data.epoch_pairs`. `milestones` are epochs at which the rate halves. `clip` 0 clips nothing.
    A batch is made in `shards`, which as many processes or fewer share (`models.training`).
    `learns` names the parts of the network that learn ("claim", "passes.2"), all where it is empty.
    """

    kind: Literal["adamw", "adam", "muon"] = "adamw"
    schedule: Literal["cosine", "milestones"] = "cosine"
    steps: int = 8000
    epochs: int = 0
    milestones: tuple[int, ...] = ()
    batch: int = 16
    shards: int = 4
    rate: float = 2e-3
    warm_up: float = 0.05
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.998
    loss_weights: tuple[float, ...] = (0.4, 1.0)
    reduction: Reduction = "mean"
    sigma_weight: float = 0.02
    error_power: float = 1.0
    learns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineRecipe:
    """How it is computed: "auto" is bfloat16 and `torch.compile` on GPUs, neither on CPUs."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole training run. Two runs of one recipe on one kind of device differ by rounding."""

    name: str
    seed: int = 1
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    machine: MachineRecipe = field(default_factory=MachineRecipe)

    @property
    def steps(self) -> int:
        """Optimiser steps from the start to the end of the schedule."""
        options = self.optimiser
        if not options.epochs:
            return options.steps
        return math.ceil(options.epochs * self.data.epoch_pairs / options.batch)


_SECTIONS: dict[str, type[Any]] = {
    "network": NetworkRecipe,
    "data": DataRecipe,
    "optimiser": OptimiserRecipe,
    "machine": MachineRecipe,
}


def default_recipe() -> Recipe:
    """The recipe of the default weights, which ships with the package."""
    text = resources.files("config.training").joinpath("default.toml").read_text(encoding="utf-8")
    return parse_recipe(text, "config/training/default.toml")


def read_recipe(path: Path) -> Recipe:
    """A recipe from a TOML file.

    Raises:
        UsageError: the file is missing, is not TOML, or has an unknown key or a value out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe {path}: {error}") from None
    return parse_recipe(text, str(path))


def parse_recipe(text: str, origin: str) -> Recipe:
    """A recipe from TOML text; `origin` is named in errors, which are those of `read_recipe`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"recipe {origin}: {error}") from None
    try:
        sections = {
            name: kind(**_only(table.get(name, {}), kind, name)) for name, kind in _SECTIONS.items()
        }
        top = _only(table, Recipe, "")
        if "name" not in top:
            raise UsageError("it has no name")
        recipe = Recipe(**top | sections)
        _check(recipe)
    except UsageError as error:
        raise UsageError(f"recipe {origin}: {error}") from None
    return recipe


def _only(table: Any, kind: type[Any], section: str) -> dict[str, Any]:
    """The table with lists as tuples; unknown keys are refused."""
    if not isinstance(table, dict):
        raise UsageError(f"{section} must be a table, not {table!r}")
    known = {f.name for f in dataclasses.fields(kind)}
    for key in table:
        if key not in known:
            where = f"[{section}] " if section else ""
            raise UsageError(f"{where}unknown key {key!r}; known are {', '.join(sorted(known))}")
    return {key: tuples(value) for key, value in table.items()}


def _check(recipe: Recipe) -> None:
    for key, fits, wanted in _RULES:
        value: Any = recipe
        for part in key.split("."):
            value = getattr(value, part)
        if not fits(value):
            raise UsageError(f"{key} must be {wanted}, not {value!r}")
    data = recipe.data
    if data.crop_px % 16 or data.crop_px > data.pattern_px:
        raise UsageError(
            f"data.crop_px must be a multiple of 16 up to pattern_px, not {data.crop_px}"
        )
    options = recipe.optimiser
    if options.batch % options.shards:
        raise UsageError(
            f"optimiser.batch must be a multiple of optimiser.shards, which is {options.shards}, "
            f"not {options.batch}"
        )
    if options.epochs and not data.epoch_pairs:
        raise UsageError("optimiser.epochs needs data.epoch_pairs, how many pairs an epoch is")
    if options.schedule == "milestones":
        if not (options.milestones and options.epochs):
            raise UsageError(
                "optimiser.schedule 'milestones' needs optimiser.milestones and optimiser.epochs"
            )
    elif options.milestones:
        raise UsageError("optimiser.milestones needs optimiser.schedule = 'milestones'")


def _whole(low: int) -> Callable[[Any], bool]:
    """Integers from `low`; generators take no seed of more than 64 bits."""
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v < 1 << 40


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(high: float = math.inf) -> Callable[[Any], bool]:
    return lambda v: _is_number(v) and 0 < v <= high


def _from_zero(high: float = math.inf) -> Callable[[Any], bool]:
    return lambda v: _is_number(v) and 0 <= v <= high


def _rising(high: float) -> Callable[[Any], bool]:
    fits = _positive(high)
    return lambda v: (
        isinstance(v, tuple) and len(v) == 2 and all(fits(x) for x in v) and v[0] <= v[1]
    )


def _one_of(*words: str) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, str) and v in words


def checked_name(name: str) -> str:
    """The name of weights that are to be made.

    Raises:
        UsageError: it would not be one word.
    """
    if not _is_name(name):
        raise UsageError(f"name must be {_NAME}, not {name!r}")
    return name


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value) is not None


_NAME = "a word of letters, digits, '.', '-' and '_'"
_SHARE = "a number from 0 to 1"
_PAIR = "two rising positive numbers"
_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("name", _is_name, _NAME),
    ("seed", _whole(0), "a whole number from 0"),
    ("network.architecture", lambda v: isinstance(v, str), "text"),
    ("network.options", lambda v: isinstance(v, dict), "a table"),
    ("data.patterns", _whole(1), "a whole number from 1"),
    ("data.pattern_px", _whole(32), "a whole number from 32"),
    ("data.crop_px", _whole(32), "a whole number from 32"),
    ("data.visibility", lambda v: v == "own" or _rising(2.0)(v), "'own' or " + _PAIR),
    ("data.counts", _rising(math.inf), _PAIR),
    ("data.transmission", _rising(1.0), _PAIR + " up to 1"),
    ("data.flat", _from_zero(1), _SHARE),
    ("data.focusing", _from_zero(1), _SHARE),
    ("data.deformation", _one_of("wide", "paper"), "'wide' or 'paper'"),
    ("data.wide", _from_zero(1), _SHARE),
    ("data.coarse_px", _positive(4), "a number above 0, up to 4"),
    ("data.epoch_pairs", _whole(0), "a whole number from 0"),
    (
        "data.pattern_sets",
        lambda v: isinstance(v, tuple) and all(isinstance(x, str) for x in v),
        "a list of files",
    ),
    ("data.stored", lambda v: isinstance(v, str), "a file"),
    ("optimiser.kind", _one_of("adamw", "adam", "muon"), "'adamw', 'adam' or 'muon'"),
    ("optimiser.schedule", _one_of("cosine", "milestones"), "'cosine' or 'milestones'"),
    ("optimiser.steps", _whole(1), "a whole number from 1"),
    ("optimiser.epochs", _whole(0), "a whole number from 0"),
    (
        "optimiser.milestones",
        lambda v: isinstance(v, tuple) and all(map(_whole(1), v)) and list(v) == sorted(v),
        "a rising list of whole numbers from 1",
    ),
    ("optimiser.shards", _whole(1), "a whole number from 1"),
    ("optimiser.batch", _whole(1), "a whole number from 1"),
    ("optimiser.rate", _positive(), "a positive number"),
    ("optimiser.warm_up", _from_zero(0.9), "a number from 0 to 0.9"),
    ("optimiser.weight_decay", _from_zero(), "a number from 0"),
    ("optimiser.clip", _from_zero(), "a number from 0"),
    ("optimiser.average", _from_zero(0.999999), "a number from 0 to below 1"),
    (
        "optimiser.loss_weights",
        lambda v: isinstance(v, tuple) and bool(v) and all(_from_zero()(x) for x in v),
        "a list of numbers from 0",
    ),
    ("optimiser.reduction", _one_of("sum", "mean"), "'sum' or 'mean'"),
    ("optimiser.sigma_weight", _from_zero(), "a number from 0"),
    ("optimiser.error_power", _positive(1), "a number above 0, up to 1"),
    (
        "optimiser.learns",
        lambda v: isinstance(v, tuple) and all(isinstance(x, str) and x for x in v),
        "a list of parts of the network",
    ),
    (
        "machine.precision",
        _one_of("auto", "float32", "bfloat16"),
        "'auto', 'float32' or 'bfloat16'",
    ),
    ("machine.compile", _one_of("auto", "on", "off"), "'auto', 'on' or 'off'"),
)


def with_batch(recipe: Recipe, batch: int) -> Recipe:
    """The recipe for batches of another size: as many pairs in all, the rate by the square root.

    Adam's steps have the length of the rate, and their noise falls with the root of the batch.

    Raises:
        UsageError: the batch does not fit the recipe.
    """
    old = recipe.optimiser
    new = dataclasses.replace(
        old,
        batch=batch,
        rate=old.rate * math.sqrt(batch / old.batch),
        steps=max(1, round(old.steps * old.batch / batch)),
    )
    scaled = dataclasses.replace(recipe, optimiser=new)
    _check(scaled)
    return scaled


def recipe_table(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, for cards and checkpoints."""
    return dataclasses.asdict(recipe)


def tuples(value: Any) -> Any:
    """Lists of TOML and JSON as tuples, all the way down."""
    if isinstance(value, dict):
        return {k: tuples(v) for k, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value
