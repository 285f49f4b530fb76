"""What belongs to a series, and what does not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cade.frames import Event, Frame, Reason, Rejected, SeriesEnd, SeriesStart
from cade.wire import Message, WireError
from daemon.sources.series_gate import SeriesGate
from daemon.sources.stream_window import ReorderWindow

PIXELS = np.ones((2, 2))
ORIGIN = "tcp://a:1"
Short = tuple[object, ...]


def gate(reorder: int = 4, senders: int = 1) -> SeriesGate:
    return SeriesGate(ORIGIN, ReorderWindow(reorder, 1 << 20), senders)


def start(series_id: str, time_s: float = 0.0, count: int | None = None) -> SeriesStart:
    return SeriesStart(series_id, time_s, count)


def image(series_id: str, image_id: int) -> Frame:
    return Frame(series_id, image_id, PIXELS, 0.0)


def take(one: SeriesGate, *messages: Message) -> list[Short]:
    return [short(event) for message in messages for event in one.take(message)]


def pass_through(*messages: Message) -> list[Short]:
    return take(gate(), *messages)


def short(event: Event) -> Short:
    match event:
        case Frame():
            return "image", event.series_id, event.image_id
        case Rejected():
            assert event.origin == ORIGIN
            return event.reason, event.series_id, event.image_id
    return type(event), event.series_id


def detail(event: Event) -> str:
    assert isinstance(event, Rejected)
    return event.detail


def test_a_series() -> None:
    assert pass_through(start("a"), image("a", 0), image("a", 5), SeriesEnd("a")) == [
        (SeriesStart, "a"), ("image", "a", 0), ("image", "a", 5), (SeriesEnd, "a"),
    ]  # fmt: skip


def test_images_outside_any_series() -> None:
    one = gate()
    [before] = one.take(image("a", 0))
    take(one, start("a"), SeriesEnd("a"))
    [after] = one.take(image("a", 1))
    assert short(before) == (Reason.NO_SERIES, "a", 0)
    assert short(after) == (Reason.NO_SERIES, "a", 1)
    assert detail(before) == (
        "image 0 belongs to series a, whose start message has not come; no series is open"
    )
    assert detail(after) == "image 1 belongs to series a, which has ended"


def test_late_images_of_an_aborted_series_leave_the_new_one_open() -> None:
    one = gate()
    assert take(one, start("a"), start("b")) == [
        (SeriesStart, "a"), (SeriesEnd, "a"), (SeriesStart, "b"),
    ]  # fmt: skip
    [late] = one.take(image("a", 0))
    assert short(late) == (Reason.NO_SERIES, "a", 0)
    assert detail(late).endswith("series a, which was aborted by the start of series b")
    assert take(one, SeriesEnd("a"), image("b", 0)) == [("image", "b", 0)]


def test_an_aborted_series_gives_what_it_holds_first() -> None:
    found = pass_through(start("a"), image("a", 2), start("b"), image("b", 0))
    assert found[1:] == [
        ("image", "a", 2), (SeriesEnd, "a"), (SeriesStart, "b"), ("image", "b", 0),
    ]  # fmt: skip


def test_repeated_image() -> None:
    found = pass_through(start("a"), image("a", 0), image("a", 0), image("a", 1))
    assert found[2:] == [(Reason.REPEATED, "a", 0), ("image", "a", 1)]


def test_an_image_that_is_held_back_may_be_repeated_as_well() -> None:
    found = pass_through(start("a"), image("a", 1), image("a", 1), image("a", 0))
    assert found[1:] == [(Reason.REPEATED, "a", 1), ("image", "a", 0), ("image", "a", 1)]


@pytest.mark.parametrize("reorder", [0, 4])
def test_swapped_images(reorder: int) -> None:
    found = take(gate(reorder), start("a"), *(image("a", n) for n in (0, 2, 1)), SeriesEnd("a"))
    assert [one[-1] for one in found[1:-1]] == ([0, 1, 2] if reorder else [0, 2, 1])


def test_a_second_start_of_another_time_is_a_series_of_its_own() -> None:
    found = pass_through(start("a", 1.0), image("a", 0), start("a", 2.0), image("a", 0))
    assert found[2:] == [(SeriesEnd, "a"), (SeriesStart, "a"), ("image", "a", 0)]


def test_a_start_message_that_comes_twice() -> None:
    one = gate()
    take(one, start("a", 1.0, 5))
    [again] = one.take(start("a", 2.0, 5))  # the time is that of arrival
    assert short(again) == (Reason.REPEATED, "a", -1)
    assert detail(again) == "the start message of series a came twice"
    assert take(one, image("a", 0), start("a", 1.0, 5), image("a", 1)) == [
        ("image", "a", 0), (Reason.REPEATED, "a", -1), ("image", "a", 1),
    ]  # fmt: skip
    assert take(one, start("a", 1.0, 6)) == [(SeriesEnd, "a"), (SeriesStart, "a")]


def test_a_series_may_come_again_after_its_end() -> None:
    found = pass_through(start("a"), SeriesEnd("a"), start("a"), image("a", 0), SeriesEnd("a"))
    assert found[2:] == [(SeriesStart, "a"), ("image", "a", 0), (SeriesEnd, "a")]


def test_end_without_a_series() -> None:
    one = gate()
    [rejected] = one.take(SeriesEnd("a"))
    assert short(rejected) == (Reason.NO_SERIES, "a", -1)
    assert detail(rejected) == (
        "the end message of series a, whose start message has not come; no series is open"
    )
    assert take(one, start("b")) == [(SeriesStart, "b")]
    [stranger] = one.take(SeriesEnd("c"))
    assert detail(stranger).endswith("has not come; series b is open")
    assert take(one, image("b", 0)) == [("image", "b", 0)]


def test_an_end_that_comes_twice_says_nothing_new() -> None:
    assert pass_through(start("a"), SeriesEnd("a"), SeriesEnd("a"))[2:] == []


def test_malformed_message_and_close() -> None:
    one = gate()
    assert list(one.malformed(WireError("what", image_id=3))) == [
        Rejected("", 3, Reason.MALFORMED, "what", ORIGIN)
    ]
    list(one.take(start("a")))
    [rejected] = one.malformed(WireError("what"))
    assert rejected.series_id == "a"
    assert list(one.close()) == [SeriesEnd("a")]
    assert list(one.close()) == []


def test_a_broken_image_is_not_waited_for_but_may_come_again() -> None:
    one = gate()
    assert take(one, start("a"), image("a", 1)) == [(SeriesStart, "a")]
    broken = [short(event) for event in one.malformed(WireError("cut", image_id=0))]
    assert broken == [(Reason.MALFORMED, "a", 0), ("image", "a", 1)]
    assert take(one, image("a", 0)) == [("image", "a", 0)]


def test_settle_gives_up_what_is_missing_and_leaves_the_series_open() -> None:
    one = gate()
    take(one, start("a"), image("a", 2))
    assert one.waiting_s > 0
    assert [short(event) for event in one.settle()] == [("image", "a", 2)]
    assert one.waiting_s == 0
    assert take(one, image("a", 1)) == [("image", "a", 1)]


def test_a_live_view_is_taken_as_it_comes() -> None:
    lossy = dataclasses.replace(start("a"), lossy=True)
    assert pass_through(lossy, image("a", 3), image("a", 1))[1:] == [
        ("image", "a", 3), ("image", "a", 1),
    ]  # fmt: skip


def test_only_the_last_series_are_remembered() -> None:
    one = gate()
    for number in range(102):
        take(one, start(str(number)), SeriesEnd(str(number)))
    assert (one.knows("1"), one.knows("2")) == (False, True)


def test_two_senders_that_each_begin_and_end() -> None:
    one = gate(senders=2)
    assert take(one, start("a"), image("a", 0), start("a"), image("a", 1)) == [
        (SeriesStart, "a"), ("image", "a", 0), ("image", "a", 1),
    ]  # fmt: skip
    assert take(one, SeriesEnd("a"), image("a", 2)) == [("image", "a", 2)]
    assert take(one, SeriesEnd("a")) == [(SeriesEnd, "a")]


def test_an_end_that_overtakes_the_last_images_of_another_sender() -> None:
    one = gate(senders=2)
    assert take(one, start("a", count=2), image("a", 0), SeriesEnd("a"))[2:] == []
    assert one.ending
    assert take(one, image("a", 1)) == [("image", "a", 1), (SeriesEnd, "a")]
    assert not one.ending


def test_one_end_of_two_senders_is_enough_when_all_has_come() -> None:
    found = take(gate(senders=2), start("a", count=1), image("a", 0), SeriesEnd("a"))
    assert found[2:] == [(SeriesEnd, "a")]


def test_one_end_of_two_senders_and_a_missing_image() -> None:
    one = gate(senders=2)
    take(one, start("a", count=3), image("a", 0), image("a", 2), SeriesEnd("a"))
    assert [short(event) for event in one.settle()] == [("image", "a", 2), (SeriesEnd, "a")]


def test_more_starts_than_senders_is_a_new_series() -> None:
    found = take(gate(senders=2), start("a", 1.0), start("a", 1.5), start("a", 2.0, 7))
    assert found[1:] == [(SeriesEnd, "a"), (SeriesStart, "a")]
