"""What belongs to a series, and what does not."""

from __future__ import annotations

import numpy as np

from cade.frames import Event, Frame, Reason, Rejected, SeriesEnd, SeriesStart
from cade.wire import Message, WireError
from daemon.sources.series_gate import SeriesGate

PIXELS = np.ones((2, 2))


def start(series_id: str) -> SeriesStart:
    return SeriesStart(series_id, 0.0)


def image(series_id: str, image_id: int) -> Frame:
    return Frame(series_id, image_id, PIXELS, 0.0)


def pass_through(*messages: Message) -> list[tuple[object, ...]]:
    gate = SeriesGate("tcp://a:1")
    return [short(event) for message in messages for event in gate.take(message)]


def short(event: Event) -> tuple[object, ...]:
    match event:
        case Frame():
            return "image", event.series_id, event.image_id
        case Rejected():
            assert event.origin == "tcp://a:1"
            return event.reason, event.series_id, event.image_id
    return type(event), event.series_id


def test_a_series() -> None:
    assert pass_through(start("a"), image("a", 0), image("a", 5), SeriesEnd("a")) == [
        (SeriesStart, "a"), ("image", "a", 0), ("image", "a", 5), (SeriesEnd, "a"),
    ]  # fmt: skip


def test_images_outside_any_series() -> None:
    assert pass_through(image("a", 0), start("a"), SeriesEnd("a"), image("a", 1)) == [
        (Reason.NO_SERIES, "a", 0), (SeriesStart, "a"), (SeriesEnd, "a"),
        (Reason.NO_SERIES, "a", 1),
    ]  # fmt: skip


def test_late_images_of_an_aborted_series_leave_the_new_one_open() -> None:
    found = pass_through(start("a"), start("b"), image("a", 0), SeriesEnd("a"), image("b", 0))
    assert found == [
        (SeriesStart, "a"), (SeriesEnd, "a"), (SeriesStart, "b"), (Reason.NO_SERIES, "a", 0),
        ("image", "b", 0),
    ]  # fmt: skip


def test_repeated_image() -> None:
    found = pass_through(start("a"), image("a", 3), image("a", 3), image("a", 2), start("b"))
    assert found[2:4] == [(Reason.REPEATED, "a", 3), ("image", "a", 2)]


def test_image_ids_of_another_series_are_new() -> None:
    found = pass_through(start("a"), image("a", 3), start("a"), image("a", 3))
    assert found[1:] == [
        ("image", "a", 3), (SeriesEnd, "a"), (SeriesStart, "a"), ("image", "a", 3),
    ]  # fmt: skip


def test_end_without_a_series() -> None:
    assert pass_through(SeriesEnd("a")) == []


def test_malformed_message_and_close() -> None:
    gate = SeriesGate("here")
    assert gate.malformed(WireError("what", image_id=3)) == Rejected(
        "", 3, Reason.MALFORMED, "what", "here"
    )
    list(gate.take(start("a")))
    assert gate.malformed(WireError("what")).series_id == "a"
    assert list(gate.close()) == [SeriesEnd("a")]
    assert list(gate.close()) == []
