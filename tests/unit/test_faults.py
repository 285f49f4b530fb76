"""Faults: each meets an image of its own, at random and repeatably."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from cade.errors import UsageError
from simulator.faults import Faults, ImageFault, SeriesPlan, plan_faults

KINDS = get_args(ImageFault)
MANY = Faults(
    drop=5, duplicate=4, reorder=6, truncate=3, corrupt=2, wrong_shape=1, stall=3, stray_series=7,
    stray=4,
)  # fmt: skip


def met(plan: SeriesPlan) -> list[int]:
    """Every image that a fault meets."""
    pairs = [n + 1 for n, kind in plan.images.items() if kind == "reorder"]
    return [*plan.images, *pairs]


@pytest.mark.parametrize("image_counts", [[100], [30, 1, 12], [40, 40]])
@pytest.mark.parametrize("seed", range(5))
def test_every_fault_finds_its_own_image(image_counts: list[int], seed: int) -> None:
    plans = plan_faults(MANY, image_counts, seed)
    kinds = Counter(kind for plan in plans for kind in plan.images.values())
    assert kinds == {kind: getattr(MANY, kind) for kind in KINDS}
    for plan, count in zip(plans, image_counts, strict=True):
        numbers = met(plan)
        assert len(set(numbers)) == len(numbers)
        assert all(1 <= number < count for number in numbers)
        assert all(0 <= number < count - 1 for number in plan.stalls | plan.stray_series)
    assert sum(len(plan.stalls) for plan in plans) == 3
    assert sum(len(plan.stray_series) for plan in plans) == 7
    assert sum(plan.strays for plan in plans) == 4


def test_the_seed_decides() -> None:
    first, again, other = (plan_faults(MANY, [100], seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("faults", "image_counts"),
    [
        (Faults(reorder=4, drop=1), [10]),
        (Faults(reorder=2, corrupt=2, truncate=1), [6, 3]),
        (Faults(drop=9), [10]),
        (Faults(stall=9, stray_series=9), [10]),
    ],
)
def test_as_many_as_there_is_room_for(faults: Faults, image_counts: list[int]) -> None:
    for seed in range(20):
        plans = plan_faults(faults, image_counts, seed)
        assert sum(len(met(plan)) for plan in plans) in (0, sum(image_counts) - len(image_counts))


@pytest.mark.parametrize(
    ("faults", "complaint"),
    [
        (Faults(reorder=5), r"this many reorder \(5\) do not fit: there is room for 4"),
        (Faults(reorder=4, drop=2), r"this many faults \(2\) do not fit: there is room for 1"),
        (Faults(drop=5, corrupt=5), r"this many faults \(10\) do not fit: there is room for 9"),
        (Faults(stall=10), r"this many stall \(10\) do not fit: there is room for 9"),
        (Faults(stray_series=10), r"this many stray_series \(10\) do not fit"),
    ],
)
def test_too_many(faults: Faults, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        plan_faults(faults, [10], 0)


def test_faults_in_words() -> None:
    assert str(Faults()) == ""
    assert str(Faults(drop=2, stray=1)) == "2 drop, 1 stray"
