"""Where pairs come from: what a batch depends on, and that nothing waits for the device."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cade.errors import UsageError
from models.recipe import Recipe
from models.training import ALONE, FreshPairs, Trainer, with_stored_pairs
from models.training.recipe_source import recipe_source
from models.training.stored_pairs import StoredPairs, stored_pairs
from simulator.pair_set import open_pair_set
from simulator.pair_set_writer import PairSetRequest, plan_pair_set, write_pair_set
from simulator.pairs import PairSample, PairSettings
from simulator.pattern_range import PAPER_RANGE
from simulator.pattern_set import PatternSetRequest, read_patterns, write_pattern_set
from tests.models.training_run import recipe

CPU = torch.device("cpu")
FIELDS = [field.name for field in dataclasses.fields(PairSample)]
PATTERNS, STORED, SIDE = 2, 10, 32


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files with patterns of 48² px and with ten pairs of 32² px of them."""
    folder = tmp_path_factory.mktemp("sets")
    references, pairs = folder / "references.h5", folder / "pairs.h5"
    write_pattern_set(references, PatternSetRequest(PAPER_RANGE, PATTERNS, (48, 48), 5))
    request = PairSetRequest(references, STORED, 0, (SIDE, SIDE), seed=9)
    write_pair_set(pairs, plan_pair_set(request))
    return references, pairs


def fresh(seed: int = 3) -> FreshPairs:
    patterns = 1 + 0.1 * torch.randn(2, 96, 96, generator=torch.Generator().manual_seed(1))
    return FreshPairs(patterns, 16, PairSettings(), seed, shard_pairs=2)


def assert_same(found: PairSample, expected: PairSample) -> None:
    for name in FIELDS:
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), atol=1e-6, rtol=1e-6
        )


def joined(*parts: PairSample) -> PairSample:
    return PairSample(*(torch.cat([getattr(part, name) for part in parts]) for name in FIELDS))


def of_stored(recipe_: Recipe) -> StoredPairs:
    return stored_pairs(recipe_, CPU)


def test_a_batch_is_its_shards_whoever_makes_them() -> None:
    source = fresh()
    parts = [source.batch(7, range(k, k + 2)) for k in (0, 2)]
    assert_same(joined(*parts), source.batch(7, range(4)))


def test_a_batch_depends_on_seed_step_and_shard() -> None:
    first = fresh().batch(7, range(1))
    assert_same(fresh().batch(7, range(1)), first)
    for other in (
        fresh().batch(8, range(1)),
        fresh().batch(7, range(1, 2)),
        fresh(4).batch(7, range(1)),
    ):
        assert not torch.equal(other.reference, first.reference)


class NoWaiting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses every operation for which the host would have to wait for a GPU's result."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = str(func)
        waits = ("_local_scalar_dense", "nonzero", "masked_select", "equal.default", "unique")
        assert not any(word in name for word in waits), name
        return func(*args, **(kwargs or {}))


def no_waiting() -> NoWaiting:
    return NoWaiting()  # type: ignore[no-untyped-call]


def test_the_host_never_waits_for_fresh_pairs() -> None:
    with no_waiting():
        fresh().batch(0, range(4))
    with pytest.raises(AssertionError, match="_local_scalar_dense"), no_waiting():
        float(torch.zeros(1).sum())


def test_the_host_never_waits_for_a_step(tmp_path: Path) -> None:
    trainer = Trainer(recipe(), tmp_path)
    source = FreshPairs(fresh().patterns, 32, PairSettings(), 3, shard_pairs=1)
    trainer.train_step(trainer.network, source, 0.5)  # the optimiser sets itself up
    with no_waiting():
        trainer.train_step(trainer.network, source, 0.5)
    assert trainer.step == 2


def test_stored_pairs_come_once_an_epoch_in_changing_order(sets: tuple[Path, Path]) -> None:
    _, path = sets
    options = dataclasses.replace(recipe().optimiser, batch=4, shards=2)
    base = dataclasses.replace(recipe(), optimiser=options)
    source = of_stored(with_stored_pairs(base, path))
    stored = open_pair_set(path).read(range(STORED))
    batches = joined(*(source.batch(step, range(2)) for step in range(5)))
    rows = [
        int((stored.reference - image).abs().amax(dim=(1, 2)).argmin())
        for image in batches.reference
    ]
    assert sorted(rows[:STORED]) == sorted(rows[STORED:]) == list(range(STORED))
    assert rows[:STORED] != rows[STORED:]
    for name in FIELDS:
        assert torch.equal(getattr(batches, name), getattr(stored, name)[rows])
    halves = joined(source.batch(3, range(1)), source.batch(3, range(1, 2)))
    assert_same(halves, source.batch(3, range(2)))


def test_a_recipe_takes_stored_pairs_and_counts_epochs_by_them(sets: tuple[Path, Path]) -> None:
    options = dataclasses.replace(recipe().optimiser, epochs=3)
    data = dataclasses.replace(recipe().data, epoch_pairs=7)
    base = dataclasses.replace(recipe(), optimiser=options, data=data)
    taken = with_stored_pairs(base, sets[1])
    assert taken.steps == 3 * STORED / options.batch
    assert recipe_source(taken, Path(), CPU, ALONE).batch(0, range(2)).reference.shape[0] == 2
    wrong = dataclasses.replace(taken, data=dataclasses.replace(taken.data, epoch_pairs=7))
    with pytest.raises(UsageError, match=r"epoch_pairs is 7, but .*pairs\.h5 holds 10 pairs"):
        of_stored(wrong)
    wrong = dataclasses.replace(taken, data=dataclasses.replace(taken.data, crop_px=48))
    with pytest.raises(UsageError, match=r"crop_px is 48, but .*pairs\.h5 are 32 × 32 px"):
        of_stored(wrong)


def test_a_recipe_takes_stored_patterns(sets: tuple[Path, Path], tmp_path: Path) -> None:
    data = dataclasses.replace(recipe().data, pattern_sets=(str(sets[0]),))
    source = recipe_source(dataclasses.replace(recipe(), data=data), tmp_path, CPU, ALONE)
    assert isinstance(source, FreshPairs)
    assert torch.equal(source.patterns, read_patterns(sets[0]))
    assert not list(tmp_path.iterdir())  # none were made
    large = dataclasses.replace(recipe(), data=dataclasses.replace(data, crop_px=64))
    with pytest.raises(UsageError, match=r"crop_px is 64, but .*references\.h5 are 48 × 48 px"):
        recipe_source(large, tmp_path, CPU, ALONE)


def test_an_own_source_and_own_patterns(tmp_path: Path) -> None:
    """What `cade retrain` does: patterns of its own at a noise of its own."""
    patterns = 1 + 0.1 * torch.randn(3, 96, 96)
    settings = PairSettings(counts=(500.0, 500.0), visibility=None, periodic=False)
    source = FreshPairs(patterns, 32, settings, 3, shard_pairs=1)
    trainer = Trainer(recipe(), tmp_path, source=source)
    assert trainer.run()
    assert not (tmp_path / "patterns.npy").exists()
