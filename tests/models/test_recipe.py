"""Recipes: what ships is read, and what is wrong is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import config.training
from cade.errors import UsageError
from models.architectures import build_network
from models.recipe import (
    DataRecipe,
    MachineRecipe,
    NetworkRecipe,
    OptimiserRecipe,
    Recipe,
    default_recipe,
    parse_recipe,
    read_recipe,
    with_batch,
)
from models.training import pair_settings, training_limits
from models.training.schedule import rate_factor
from simulator.deformation import PAPER

SHIPPED = sorted(Path(config.training.__path__[0]).glob("*.toml"))
SECTIONS = {"data": DataRecipe, "optimiser": OptimiserRecipe, "machine": MachineRecipe}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_recipes_are_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name
    assert recipe.steps >= 600
    with torch.device("meta"):  # as large as it may be
        build_network(recipe.network.architecture, recipe.network.options)


def test_paper_recipe_is_table_1() -> None:
    recipe = read_recipe(SHIPPED[[p.stem for p in SHIPPED].index("paper")])
    assert recipe.network == NetworkRecipe("strainnet-f", {"width": 1.0})
    assert recipe.data.patterns * 60 == recipe.data.epoch_pairs == 21_840
    assert recipe.steps == 350 * 1365
    options = recipe.optimiser
    assert (options.kind, options.rate, options.batch) == ("adam", 1e-3, 16)
    assert (options.weight_decay, options.reduction) == (4e-4, "sum")
    settings = pair_settings(recipe)
    assert settings.visibility is None
    assert settings.deformation == PAPER
    # The rate is halved with the 41st epoch, not with the 41st step.
    epochs = {epoch: rate_factor(epoch / 350, options) for epoch in (0, 39.99, 40.01, 240.01, 349)}
    assert list(epochs.values()) == [1, 1, 0.5, 1 / 64, 1 / 64]


def test_weights_of_the_paper_are_those_of_its_scales() -> None:
    """[0.005 … 0.32] counts from full resolution; the network's estimates begin at 1/16."""
    recipe = read_recipe(SHIPPED[[p.stem for p in SHIPPED].index("paper")])
    network = build_network("strainnet-f", {"width": 0.02})
    estimates = network(*torch.zeros(2, 1, 1, 32, 32))
    sides = [e.u_px.shape[-1] for e in estimates]
    weights = dict(zip(sides, recipe.optimiser.loss_weights, strict=True))
    assert weights == {32: 0.005, 16: 0.01, 8: 0.02, 4: 0.08, 2: 0.32}


def test_another_batch_keeps_the_number_of_pairs() -> None:
    recipe = parse_recipe('name = "x"\n[optimiser]\nsteps = 600\nbatch = 12\nrate = 1e-3', "here")
    larger = with_batch(recipe, 48)
    assert (larger.optimiser.batch, larger.steps) == (48, 150)
    assert larger.optimiser.rate == pytest.approx(2e-3)
    assert with_batch(recipe, 12) == recipe
    with pytest.raises(UsageError, match=r"optimiser\.batch must be a multiple of .*4, not 50"):
        with_batch(recipe, 50)


def test_epochs_count_pairs() -> None:
    text = 'name = "x"\n[data]\nepoch_pairs = 100\n[optimiser]\nepochs = 3\nbatch = 16\nsteps = 5'
    assert parse_recipe(text, "here").steps == 19
    assert with_batch(parse_recipe(text, "here"), 4).steps == 75


def test_visibility_may_be_the_patterns_own() -> None:
    recipe = parse_recipe('name = "x"\n[data]\nvisibility = "own"', "here")
    assert pair_settings(recipe).visibility is None
    assert "their own visibility" in training_limits(recipe)[1]


def test_limits_in_words() -> None:
    assert training_limits(Recipe("x"))[0] == "displacements up to 1.25 px"
    wide = Recipe("x", data=DataRecipe(coarse_px=2.5, flat=1.0, transmission=(0.2, 0.8)))
    limits = training_limits(wide)
    assert limits[0] == "displacements up to 1.25 px, up to 2.5 px where they are smooth over 32 px"
    assert limits[2] == "transmission 20% to 80%"
    assert training_limits(Recipe("x", data=DataRecipe(transmission=(0.5, 0.5))))[2].endswith(
        "100%"
    )
    assert "refs.h5" in training_limits(Recipe("x", data=DataRecipe(pattern_sets=("refs.h5",))))[1]
    assert "d.h5" in training_limits(Recipe("x", data=DataRecipe(stored="d.h5")))[0]


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
        ('name = "x"\n[data]\nvisibility = "any"', "data.visibility must be 'own' or"),
        ('name = "x"\n[data]\nflat = 2', "data.flat"),
        ('name = "x"\n[data]\ncoarse_px = 9', "data.coarse_px"),
        ('name = "x"\n[data]\npattern_sets = "a.h5"', "data.pattern_sets.*list of files"),
        ('name = "x"\n[data]\nstored = 5', "data.stored"),
        ('name = "x"\n[optimiser]\nkind = "sgd"', "'adamw', 'adam' or 'muon'"),
        ('name = "x"\n[optimiser]\nschedule = ["cosine"]', "'cosine' or 'milestones'"),
        ('name = "x"\n[optimiser]\nschedule = "milestones"', "needs optimiser.milestones"),
        (
            'name = "x"\n[optimiser]\nmilestones = [4]',
            "optimiser.milestones needs optimiser.schedule",
        ),
        ('name = "x"\n[optimiser]\nmilestones = [8, 4]', "optimiser.milestones.*rising"),
        ('name = "x"\n[optimiser]\nepochs = 5', "optimiser.epochs needs data.epoch_pairs"),
        ('name = "x"\n[optimiser]\nshards = 3', "multiple of optimiser.shards, which is 3"),
        ('name = "x"\n[machine]\nprecision = "half"', "machine.precision.*'bfloat16'"),
        ('name = "x"\n[machine]\ncompile = true', "machine.compile.*'auto'"),
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
