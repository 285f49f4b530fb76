"""Pairs into batches of one series and one reference."""

from __future__ import annotations

import numpy as np
import pytest

from cade.frames import Beamline, Frame, FramePair, Reference
from daemon.batches import Batcher, SeriesOpened
from daemon.correction.correction import Correction

PIXELS = np.zeros((3, 4))
REFERENCES = {name: Reference(name, PIXELS, 1, 0.0) for name in ("r1", "r2")}
SERIES = {
    name: SeriesOpened(name, 1, 0.0, (3, 4), None, Beamline(), Correction()) for name in ("a", "b")
}


def add(batcher: Batcher, number: int, series: str = "a", reference: str = "r1") -> list[list[int]]:
    """The image ids of the batches that are complete."""
    pair = FramePair(Frame(series, number, PIXELS, 0.0), REFERENCES[reference])
    return [[f.image_id for f in batch.samples] for batch in batcher.add(SERIES[series], pair)]


def flush(batcher: Batcher) -> list[list[int]]:
    return [[f.image_id for f in batch.samples] for batch in batcher.flush()]


def test_a_batch_is_complete_at_its_size() -> None:
    batcher = Batcher(3, 10.0)
    assert [add(batcher, n) for n in range(7)] == [[], [], [[0, 1, 2]], [], [], [[3, 4, 5]], []]
    assert flush(batcher) == [[6]]
    assert flush(batcher) == []


def test_a_batch_says_what_it_is() -> None:
    batcher = Batcher(1, 10.0)
    [batch] = batcher.add(SERIES["b"], FramePair(Frame("b", 0, PIXELS, 0.0), REFERENCES["r2"]))
    assert (batch.series, batch.reference, len(batch)) == (SERIES["b"], REFERENCES["r2"], 1)
    assert len(batch.arrived_s) == 1


@pytest.mark.parametrize("change", [{"series": "b"}, {"reference": "r2"}])
def test_another_series_or_reference_begins_a_batch(change: dict[str, str]) -> None:
    batcher = Batcher(3, 10.0)
    add(batcher, 0)
    add(batcher, 1)
    assert add(batcher, 2, **change) == [[0, 1]]
    assert flush(batcher) == [[2]]
    alone = Batcher(1, 10.0)
    add(alone, 0)
    assert add(alone, 1, **change) == [[1]]


def test_the_first_frame_says_when_the_batch_is_due() -> None:
    batcher = Batcher(3, 1000.0)
    assert batcher.due_in_s() is None
    add(batcher, 0)
    due_s = batcher.due_in_s()
    assert due_s is not None
    assert 0 < due_s <= 1000
    add(batcher, 1)
    later_s = batcher.due_in_s()
    assert later_s is not None
    assert later_s <= due_s
    batcher.flush()
    assert batcher.due_in_s() is None
    hasty = Batcher(3, 0.0)
    add(hasty, 0)
    assert hasty.due_in_s() == 0
