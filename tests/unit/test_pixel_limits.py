"""Saturated and marked pixels: compared as integers, NaN where they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cade.frames import Frame
from daemon.correction.pixel_limits import NO_LIMITS, Limits


def frame(values: list[float], dtype: str, stated: float | None = None) -> Frame:
    return Frame("a", 0, np.array([values], dtype), 0.0, saturation_value=stated)


def invalid(limits: Limits, found: Frame) -> list[bool]:
    marked: NDArray[np.float64] = limits.marked(found)
    return [bool(value) for value in np.isnan(np.asarray(marked, float))[0]]


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", ">u2"])
def test_the_largest_value_of_an_unsigned_type(dtype: str) -> None:
    top = int(np.iinfo(dtype).max)
    assert invalid(NO_LIMITS, frame([0, 7, top - 1, top], dtype)) == [False, False, False, True]


@pytest.mark.parametrize("dtype", ["i2", "i4", "f4"])
def test_other_types_have_none(dtype: str) -> None:
    top = np.iinfo(dtype).max if dtype != "f4" else 1e30
    found = frame([0, top], dtype)
    assert np.shares_memory(NO_LIMITS.marked(found), found.data)
    assert NO_LIMITS.ceiling(found) is None


def test_what_is_valid_is_not_copied() -> None:
    found = frame([0, 65534], "u2")
    assert np.shares_memory(NO_LIMITS.marked(found), found.data)


def test_neighbours_that_are_the_same_in_float32() -> None:
    """EIGER: 2^32 - 2 is saturated, 2^32 - 1 has no data, 2^32 - 3 is still a measurement."""
    found = frame([2**32 - 3, 2**32 - 2, 2**32 - 1], "u4", stated=2**32 - 2)
    assert invalid(NO_LIMITS, found) == [False, True, True]
    wide = frame([2**64 - 2, 2**64 - 1], "u8")
    assert invalid(NO_LIMITS, wide) == [False, True]


@pytest.mark.parametrize(
    ("setting", "stated", "expected"),
    [
        (None, 100, [False, True, True]),
        (200, 100, [False, False, True]),
        (200, None, [False, False, True]),
        (99.5, None, [False, True, True]),
        (1e9, None, [False, False, False]),
    ],
)
@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8"])
def test_settings_count_before_what_the_detector_states(
    setting: float | None, stated: float | None, expected: list[bool], dtype: str
) -> None:
    assert invalid(Limits(setting), frame([99, 100, 200], dtype, stated)) == expected


def test_marks_below() -> None:
    """PILATUS: -1 in gaps, -2 on bad pixels."""
    found = frame([-2, -1, 0, 5], "i4")
    assert invalid(NO_LIMITS, found) == [False] * 4
    assert invalid(Limits(invalid_below=0), found) == [True, True, False, False]
    assert invalid(Limits(3, 0), found) == [True, True, False, True]


def test_nan_hides_nothing() -> None:
    found = frame([np.nan, 50, -1], "f4")
    assert invalid(Limits(50, 0), found) == [True, True, True]


def test_a_part_of_the_frame() -> None:
    found = Frame("a", 0, np.array([[255, 1], [2, 255]], "u1"), 0.0)
    part = (slice(0, 1), slice(0, 2))
    np.testing.assert_array_equal(NO_LIMITS.marked(found, part), [[np.nan, 1]])


@pytest.mark.parametrize(
    ("limits", "dtype", "stated", "mark"),
    [
        (NO_LIMITS, "u2", 65534, 65535),
        (NO_LIMITS, "u2", 65535, None),  # so it means saturation
        (NO_LIMITS, "u2", None, None),
        (NO_LIMITS, "i2", 100, None),
        (Limits(60000), "u2", 65534, None),
    ],
)
def test_the_mark_of_a_detector(
    limits: Limits, dtype: str, stated: float | None, mark: int | None
) -> None:
    assert limits.mark(frame([1], dtype, stated)) == mark
