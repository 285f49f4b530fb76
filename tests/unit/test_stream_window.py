"""Images that overtook one another."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cade.frames import Frame
from daemon.sources.stream_window import ReorderWindow

PIXELS = np.ones((2, 2), "u2")  # 8 bytes
LARGE = 1 << 20


def window(max_frames: int = 4, max_bytes: int = LARGE, *, in_order: bool = True) -> ReorderWindow:
    found = ReorderWindow(max_frames, max_bytes)
    found.begin(in_order=in_order)
    return found


def image(image_id: int) -> Frame:
    return Frame("a", image_id, PIXELS, 0.0)


def passed(one: ReorderWindow, *ids: int) -> list[list[int]]:
    """What each of these images lets go on."""
    return [[frame.image_id for frame in one.take(image(image_id))] for image_id in ids]


def flushed(one: ReorderWindow) -> list[int]:
    return [frame.image_id for frame in one.flush()]


def test_an_orderly_stream_never_waits() -> None:
    one = window()
    for image_id in range(100):
        assert passed(one, image_id) == [[image_id]]
        assert (len(one), one.waiting_s) == (0, 0)


def test_swapped_images() -> None:
    assert passed(window(), 0, 2, 1, 3) == [[0], [], [1, 2], [3]]
    assert passed(window(), 2, 1, 0, 3) == [[], [], [0, 1, 2], [3]]


def test_a_full_window_gives_up_what_is_missing() -> None:
    one = window(3)
    assert passed(one, 0, 2, 3, 4, 5, 6) == [[0], [], [], [], [2, 3, 4, 5], [6]]
    assert passed(one, 1, 7) == [[1], [7]]  # late, but not lost


def test_only_as_much_as_is_needed_is_given_up() -> None:
    one = window(3)
    assert passed(one, 1, 4, 5, 6) == [[], [], [], [1]]
    assert passed(one, 3, 2) == [[3, 4, 5, 6], [2]]


@pytest.mark.parametrize(("max_bytes", "first"), [(16, [1, 2, 3]), (24, [])])
def test_memory_is_bounded(max_bytes: int, first: list[int]) -> None:
    one = window(100, max_bytes)
    assert passed(one, 1, 2, 3) == [[], [], first]


def test_an_image_larger_than_the_window_passes() -> None:
    assert passed(window(4, 7), 3, 1) == [[3], [1]]


def test_flush() -> None:
    one = window()
    passed(one, 0, 2, 5)
    assert one.waiting_s > 0
    assert flushed(one) == [2, 5]
    assert (len(one), one.waiting_s, flushed(one)) == (0, 0, [])
    assert passed(one, 6, 4) == [[6], [4]]


def test_waiting_begins_anew_with_another_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 10.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    one = window()
    passed(one, 1, 3)
    now_s = 12.0
    assert one.waiting_s == 2
    assert passed(one, 0) == [[0, 1]]
    assert one.waiting_s == 0
    now_s = 13.0
    assert one.waiting_s == 1


@pytest.mark.parametrize("in_order", [True, False])
def test_a_live_view_is_never_held_up(in_order: bool) -> None:
    found = passed(window(in_order=in_order), 0, 3, 1)
    assert found == ([[0], [], [1]] if in_order else [[0], [3], [1]])


def test_a_window_of_nothing_lets_all_pass() -> None:
    assert passed(window(0), 3, 0, 2) == [[3], [0], [2]]


def test_what_will_not_come_is_not_waited_for() -> None:
    one = window()
    passed(one, 1, 2, 4)
    assert [frame.image_id for frame in one.do_without(0)] == [1, 2]
    assert list(one.do_without(5)) == []
    assert passed(one, 3, 6) == [[3, 4], [6]]


def test_a_new_series_begins_with_0() -> None:
    one = window()
    passed(one, 0, 1)
    one.begin(in_order=True)
    assert passed(one, 1, 0) == [[], [0, 1]]


@given(st.permutations(range(12)), st.integers(0, 12), st.integers(0, 100))
def test_nothing_is_lost_or_doubled(ids: list[int], max_frames: int, max_bytes: int) -> None:
    one = window(max_frames, max_bytes)
    found = [number for step in passed(one, *ids) for number in step]
    assert len(one) <= max_frames
    found += flushed(one)
    assert sorted(found) == list(range(12))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_images_that_come_a_little_late_are_all_in_order(delays: list[int]) -> None:
    order = sorted(range(len(delays)), key=lambda n: n + delays[n])
    one = window(4)
    found = [number for step in passed(one, *order) for number in step]
    assert found + flushed(one) == list(range(len(delays)))
