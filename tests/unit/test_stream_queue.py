"""A queue that is bounded in bytes."""

from __future__ import annotations

import threading

from cade.wire import WireError
from daemon.sources.stream_early import EarlyImages
from daemon.sources.stream_queue import MessageQueue

PATIENCE_S = 30.0


def test_in_order_and_with_room_in_bytes() -> None:
    queue = MessageQueue(10)
    assert queue.wait_for_room(0.0)
    queue.put([b"12345", b"1234"])
    assert queue.wait_for_room(0.0)
    queue.put([b"x" * 100])  # one may exceed it
    assert not queue.wait_for_room(0.0)
    assert queue.get(0.0) == [b"12345", b"1234"]
    assert not queue.wait_for_room(0.0)
    assert queue.get(0.0) == [b"x" * 100]
    assert queue.wait_for_room(0.0)
    assert queue.get(0.0) is None


def test_what_is_no_message_needs_no_room() -> None:
    queue = MessageQueue(1)
    queue.put(WireError("broken"))
    assert queue.wait_for_room(0.0)
    assert str(queue.get(0.0)) == "broken"


def test_closed_is_not_exhausted() -> None:
    queue = MessageQueue(1)
    queue.put([b"1"])
    queue.close()
    assert (queue.closed, queue.exhausted, queue.wait_for_room(PATIENCE_S)) == (True, False, True)
    assert queue.get(PATIENCE_S) == [b"1"]
    assert queue.exhausted
    assert queue.get(PATIENCE_S) is None


def test_room_wakes_who_waits_for_it() -> None:
    queue = MessageQueue(1)
    queue.put([b"1"])
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(queue.wait_for_room(PATIENCE_S)))
    thread.start()
    queue.get(0.0)
    thread.join(PATIENCE_S)
    assert found == [True]


def test_early_images_are_bounded_in_number_and_bytes() -> None:
    early = EarlyImages(2, 10)
    assert early.waiting_s == 0
    assert early.hold([b"12345"])
    assert not early.hold([b"123456"])
    assert early.hold([b"1234", b"5"])
    assert not early.hold([b""])
    assert early.waiting_s > 0
    assert early.take() == [[b"12345"], [b"1234", b"5"]]
    assert (early.take(), early.waiting_s) == ([], 0)
    assert early.hold([b"1234567890"])
    assert not EarlyImages(0, 10).hold([b""])
