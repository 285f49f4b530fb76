"""Times that nobody should believe."""

from __future__ import annotations

import math
import time

import pytest

from daemon.stated_time import LATEST_S, plausible_time_s


@pytest.mark.parametrize("stated_s", [1.0, 1.7e9, LATEST_S - 1])
def test_believed(stated_s: float) -> None:
    assert plausible_time_s(stated_s) == stated_s


@pytest.mark.parametrize("stated_s", [None, 0.0, -1.0, LATEST_S, 1e300, math.inf, math.nan])
def test_not_believed(stated_s: float | None) -> None:
    before_s = time.time()
    assert before_s <= plausible_time_s(stated_s) <= time.time()
