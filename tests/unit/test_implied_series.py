"""Where a series begins in a stream that does not say so."""

from __future__ import annotations

import pytest

from cade.wire.implied_series import LATE_IMAGES, ImpliedSeries

Steps = list[tuple[int, float | None]]


def series_of(*steps: tuple[int, float | None]) -> list[tuple[int, int]]:
    """Number of the series and of the image in it, for each number and time of one source."""
    implied = ImpliedSeries("x")
    found = []
    for number, time_s in steps:
        implied.take("a", number, time_s)
        found.append((int(implied.series_id.rpartition("-")[2]), implied.image_id()))
    return found


def untimed(*numbers: int) -> Steps:
    return [(number, None) for number in numbers]


def test_numbers_that_grow() -> None:
    assert series_of(*untimed(5, 6, 9)) == [(1, 0), (1, 1), (1, 4)]


def test_an_image_that_was_overtaken() -> None:
    assert series_of(*untimed(5, 7, 6, 8)) == [(1, 0), (1, 2), (1, 1), (1, 3)]
    assert series_of((5, 1.0), (7, 3.0), (6, 2.0)) == [(1, 0), (1, 2), (1, 1)]


def test_an_image_that_is_sent_again() -> None:
    assert series_of(*untimed(5, 6, 6, 7, 6)) == [(1, 0), (1, 1), (1, 1), (1, 2), (1, 1)]
    assert series_of((5, 1.0), (6, 2.0), (5, 1.0)) == [(1, 0), (1, 1), (1, 0)]
    assert series_of((5, 1.0), (5, 1.0)) == [(1, 0), (1, 0)]


def test_a_counter_that_begins_again() -> None:
    assert series_of(*untimed(0, 1, 2, 0, 1)) == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    assert series_of((0, 1.0), (1, 2.0), (0, 3.0)) == [(1, 0), (1, 1), (2, 0)]
    assert series_of((0, 1.0), (1, 2.0), (2, 3.0), (1, 4.0)) == [(1, 0), (1, 1), (1, 2), (2, 0)]


def test_a_number_before_the_first_begins_a_series() -> None:
    assert series_of(*untimed(5, 4, 6)) == [(1, 0), (2, 0), (2, 2)]


@pytest.mark.parametrize(("back", "series"), [(LATE_IMAGES, 1), (LATE_IMAGES + 1, 2)])
def test_how_late_an_image_may_be(back: int, series: int) -> None:
    numbers = [n for n in range(100) if n != 99 - back]
    assert series_of(*untimed(*numbers, 99 - back))[-1][0] == series


def test_another_source_and_forgetting() -> None:
    implied = ImpliedSeries("x")
    assert [implied.take("a", 1), implied.take("a", 2), implied.take("b", 3)] == [True, False, True]
    implied.forget()
    assert implied.take("b", 4)
    assert implied.series_id == "b-3"
    assert implied.take("", 4)
    assert implied.series_id == "x-4"
