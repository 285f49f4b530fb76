"""What an open series remembers: which images never came."""

from __future__ import annotations

import numpy as np
import pytest

from cade.frames import Frame, SeriesStart
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
