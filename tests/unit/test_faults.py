"""Broken messages: where they are sent, and that they are broken."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cade.frames import Frame
from cade.wire import FORMATS, WireError, decoder, encoder
from simulator.faults import Faults, hostile_parts, other_shape, schedule, truncated

IMAGE = np.ones((8, 8), "u2")


@pytest.mark.parametrize("image_count", [1, 2, 10, 100])
@pytest.mark.parametrize("faults", [Faults(), Faults(1), Faults(3, 2, 4, 9), Faults(0, 30)])
def test_schedule_sends_every_fault_after_a_good_image(faults: Faults, image_count: int) -> None:
    plan = schedule(faults, image_count)
    kinds = list(itertools.chain(*plan.values()))
    assert kinds.count("truncate") == faults.truncate
    assert kinds.count("corrupt") == faults.corrupt
    assert kinds.count("wrong_shape") == faults.wrong_shape
    assert all(1 <= after <= image_count for after in plan)


def test_schedule_is_even() -> None:
    assert schedule(Faults(2, 1, 1), 50) == {
        10: ("truncate",), 20: ("corrupt",), 30: ("wrong_shape",), 40: ("truncate",),
    }  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_hostile_and_truncated_messages_are_refused(name: str) -> None:
    reader = decoder(name)
    good = encoder(name).encode(Frame("a", 0, IMAGE, 0.0))
    bad = [(first, *good[1:]) for first in itertools.islice(hostile_parts(), 6)]
    for parts in (*bad, truncated(good)):
        with pytest.raises(WireError):
            reader.decode(parts)
    assert reader.decode(good)


@pytest.mark.parametrize("shape", [(1, 5), (8, 8)])
def test_other_shape(shape: tuple[int, int]) -> None:
    assert other_shape(np.ones(shape)).shape not in (shape, (0, 5))
