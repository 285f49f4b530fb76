"""Runs of numbers behave as a set of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.image_ids import ImageIds


def test_one_run_is_one_run() -> None:
    ids = ImageIds()
    assert (len(ids), ids.end, list(ids.gaps(2))) == (0, 0, [(0, 1)])
    assert [ids.add(number) for number in (0, 1, 3, 2, 2, 1 << 62)] == [True] * 4 + [False, True]
    assert (len(ids), ids.end) == (5, (1 << 62) + 1)
    assert list(ids.gaps(6)) == [(4, 5)]
    assert list(ids.gaps(ids.end)) == [(4, (1 << 62) - 1)]


@given(st.lists(st.integers(0, 30)), st.integers(0, 40))
def test_as_a_set(numbers: list[int], end: int) -> None:
    ids, known = ImageIds(), set[int]()
    for number in numbers:
        assert ids.add(number) == (number not in known)
        known.add(number)
    assert len(ids) == len(known)
    assert [number in ids for number in range(40)] == [number in known for number in range(40)]
    missing = [number for first, last in ids.gaps(end) for number in range(first, last + 1)]
    assert missing == [number for number in range(end) if number not in known]
