"""What an open series remembers: which images never came."""

from __future__ import annotations

import numpy as np
import pytest

from cade.frames import Frame, Reason, Rejected, SeriesStart
from daemon.series import Series


@pytest.mark.parametrize(
    ("lossy", "announced", "missing"),
    [(False, None, 3), (False, 9, 6), (True, None, 0), (True, 9, 6), (True, 2, 0)],
)
def test_a_gap_of_a_live_view_is_nothing_missing(
    lossy: bool, announced: int | None, missing: int
) -> None:
    series = Series(SeriesStart("a", 0.0, announced, lossy=lossy), 1)
    for image_id in (0, 2, 5):
        series.see(Frame("a", image_id, np.ones((2, 2)), 0.0))
    assert series.missing == missing


def seen(*ids: int, announced: int | None = None, lossy: bool = False) -> Series:
    series = Series(SeriesStart("a", 0.0, announced, lossy=lossy), 1)
    for image_id in ids:
        series.see(Frame("a", image_id, np.ones((2, 2)), 0.0))
    return series


def test_missing_images_by_their_ids() -> None:
    assert seen(0, 1, 3, 7, announced=10).missing_ids == "2, 4-6, 8-9"
    assert seen(0, 1).missing_ids == ""
    assert seen(0, 5, lossy=True).missing_ids == ""
    assert seen(*range(0, 100, 2)).missing_ids.endswith(", 37, 39, ...")
    assert seen(*range(0, 41, 2)).missing_ids.endswith(", 37, 39")


def test_a_broken_copy_beside_a_good_image_hides_no_gap() -> None:
    series = seen(0, 1, announced=3)
    series.see(Rejected("a", 1, Reason.MALFORMED, "cut short"))
    assert (series.seen, series.missing, series.missing_ids) == (2, 1, "2")


def test_what_is_no_image_of_the_series_is_not_seen() -> None:
    series = seen(0, announced=3)
    series.see(Rejected("a", 1, Reason.REPEATED, "twice"))
    series.see(Rejected("a", -1, Reason.MALFORMED, "unknown"))
    series.see(Rejected("a", 2, Reason.MALFORMED, "cut short"))
    assert series.missing_ids == "1"
