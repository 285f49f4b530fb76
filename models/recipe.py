"""Training recipes: TOML files that say everything a training run depends on."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from cade.errors import UsageError
from models.loss import Reduction


@dataclass(frozen=True, slots=True)
class NetworkRecipe:
    """Which network, and its options (`models.architectures`)."""

    architecture: str = "cade"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """Patterns and what is drawn from them; see `simulator.pairs.PairSettings`."""

    patterns: int = 320
    pattern_px: int = 256
    crop_px: int = 112
    visibility: tuple[float, float] = (0.05, 0.6)
    counts: tuple[float, float] = (200.0, 30_000.0)
    transmission: tuple[float, float] = (0.2, 1.0)
    focusing: float = 0.5
    deformation: Literal["wide", "paper"] = "wide"


@dataclass(frozen=True, slots=True)
class OptimiserRecipe:
    """How the weights move. `steps` is the length of the learning-rate schedule."""

    steps: int = 8000
    batch: int = 16
    rate: float = 2e-3
    warm_up: float = 0.05
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.998
    loss_weights: tuple[float, ...] = (0.4, 1.0)
    reduction: Reduction = "mean"
    sigma_weight: float = 0.02


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole training run. Two runs of one recipe differ only by rounding."""

    name: str
    seed: int = 1
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)


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
        recipe = Recipe(
            **_only(table, Recipe, "")
            | {
                "network": NetworkRecipe(
                    **_only(table.get("network", {}), NetworkRecipe, "network")
                ),
                "data": DataRecipe(**_only(table.get("data", {}), DataRecipe, "data")),
                "optimiser": OptimiserRecipe(
                    **_only(table.get("optimiser", {}), OptimiserRecipe, "optimiser")
                ),
            }
        )
        _check(recipe)
    except (TypeError, UsageError) as error:
        raise UsageError(f"recipe {origin}: {error}") from None
    return recipe


def _only(table: dict[str, Any], kind: type[Any], section: str) -> dict[str, Any]:
    """The table with lists as tuples; unknown keys are refused."""
    known = {f.name for f in dataclasses.fields(kind)}
    for key in table:
        if key not in known:
            where = f"[{section}] " if section else ""
            raise UsageError(f"{where}unknown key {key!r}; known are {', '.join(sorted(known))}")
    return {key: tuples(value) for key, value in table.items()}


def _check(recipe: Recipe) -> None:
    data, optimiser = recipe.data, recipe.optimiser
    for name, value in (
        ("data.patterns", data.patterns),
        ("optimiser.steps", optimiser.steps),
        ("optimiser.batch", optimiser.batch),
        ("optimiser.rate", optimiser.rate),
    ):
        if not value > 0:
            raise UsageError(f"{name} must be positive, not {value!r}")
    if data.crop_px % 16 or not 32 <= data.crop_px <= data.pattern_px:
        raise UsageError(
            f"data.crop_px must be a multiple of 16 from 32 to pattern_px, not {data.crop_px}"
        )
    for name in ("visibility", "counts", "transmission"):
        low, high = getattr(data, name)
        if not 0 < low <= high:
            raise UsageError(f"data.{name} must be a rising pair of positive numbers")


def recipe_table(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, for cards and checkpoints."""
    return dataclasses.asdict(recipe)


def tuples(value: Any) -> Any:
    """Lists of TOML and JSON as tuples, all the way down."""
    if isinstance(value, dict):
        return {k: tuples(v) for k, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value
