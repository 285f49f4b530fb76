"""Recipes: what ships is read, and what is wrong is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import config.training
from cade.errors import UsageError
from models.architectures import build_network
from models.recipe import DataRecipe, OptimiserRecipe, default_recipe, parse_recipe, read_recipe

SHIPPED = sorted(Path(config.training.__path__[0]).glob("*.toml"))
SECTIONS = {"data": DataRecipe, "optimiser": OptimiserRecipe}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_recipes_are_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name
    build_network(recipe.network.architecture, recipe.network.options)


def test_default_recipe_is_that_of_the_default_weights() -> None:
    assert default_recipe().name == "cade"
    assert default_recipe() == read_recipe(SHIPPED[[p.stem for p in SHIPPED].index("default")])


def test_what_is_not_said_has_a_default() -> None:
    recipe = parse_recipe('name = "x"\n[optimiser]\nsteps = 5', "here")
    assert recipe.optimiser == dataclasses.replace(OptimiserRecipe(), steps=5)
    assert recipe.data == DataRecipe()


def test_lists_become_tuples_all_the_way_down() -> None:
    recipe = parse_recipe('name = "x"\n[network]\noptions = {channels = [[4, 6], [4, 6]]}', "here")
    assert recipe.network.options == {"channels": ((4, 6), (4, 6))}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = 1", "no name"),
        ('name = "../x"', "name must be a word"),
        ('name = ""', "name must be a word"),
        ('name = "x"\nstep = 5', "'step'.*known are.*seed"),
        ('name = "x"\n[data]\npattern = 5', r"\[data\] unknown key 'pattern'.*patterns"),
        ('name = "x"\n[optimiser]\nlr = 5', r"\[optimiser\] unknown key 'lr'.*rate"),
        ('name = "x"\n[network]\nwidth = 5', r"\[network\] unknown key 'width'"),
        ('name = "x"\ndata = 5', "data must be a table"),
        ('name = "x"\nseed = -1', "seed"),
        ('name = "x"\nseed = 99999999999999999999', "seed"),
        ('name = "x"\n[data]\npatterns = 0', "data.patterns"),
        ('name = "x"\n[data]\npatterns = 2.5', "data.patterns"),
        ('name = "x"\n[data]\ncrop_px = 100', "data.crop_px.*multiple of 16"),
        ('name = "x"\n[data]\ncrop_px = 272', "data.crop_px.*up to pattern_px"),
        ('name = "x"\n[data]\nvisibility = 0.3', "data.visibility"),
        ('name = "x"\n[data]\nvisibility = [0.3, 0.1]', "data.visibility.*rising"),
        ('name = "x"\n[data]\nvisibility = [0.1, 0.2, 0.3]', "data.visibility"),
        ('name = "x"\n[data]\ncounts = [0, 5]', "data.counts"),
        ('name = "x"\n[data]\ntransmission = [0.5, 1.2]', "data.transmission.*up to 1"),
        ('name = "x"\n[data]\ntransmission = ["a", "b"]', "data.transmission"),
        ('name = "x"\n[data]\nfocusing = 2', "data.focusing"),
        ('name = "x"\n[data]\ndeformation = "wild"', "'wide' or 'paper'"),
        ('name = "x"\n[optimiser]\nsteps = "many"', "optimiser.steps"),
        ('name = "x"\n[optimiser]\nrate = nan', "optimiser.rate"),
        ('name = "x"\n[optimiser]\nrate = 0', "optimiser.rate"),
        ('name = "x"\n[optimiser]\naverage = 1.0', "optimiser.average"),
        ('name = "x"\n[optimiser]\nloss_weights = []', "optimiser.loss_weights"),
        ('name = "x"\n[optimiser]\nloss_weights = [1, "b"]', "optimiser.loss_weights"),
        ('name = "x"\n[optimiser]\nreduction = "median"', "'sum' or 'mean'"),
        ('name = "x', "recipe here"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"^recipe here: .*{says}|^{says}"):
        parse_recipe(text, "here")


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.toml"):
        read_recipe(tmp_path / "no.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UsageError, match=r"binary\.toml"):
        read_recipe(binary)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(
    section=st.sampled_from(sorted(SECTIONS)),
    number=st.integers(0, 20),
    value=st.one_of(
        st.integers(-3, 1000).map(str),
        st.floats(-2, 1e6, allow_nan=False).map(repr),
        st.sampled_from(["nan", "inf", "true", '"x"', "[]", "[1]", "[0.1, 0.2]", "{a = 1}"]),
    ),
)
def test_any_value_is_taken_or_refused_by_name(section: str, number: int, value: str) -> None:
    """Never another exception, and never a refusal that does not say where."""
    names = [f.name for f in dataclasses.fields(SECTIONS[section])]
    key = names[number % len(names)]
    try:
        parse_recipe(f'name = "x"\n[{section}]\n{key} = {value}', "here")
        problem = ""
    except UsageError as error:
        problem = str(error)
    assert not problem or f"{section}.{key}" in problem or "data.crop_px" in problem
