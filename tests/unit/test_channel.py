"""The bounded queue: order, pressure, closing, breaking."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from daemon.channel import Broken, Channel

PATIENCE_S = 30.0


def in_thread(function: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run it; the list gets what it returns, or `Broken`."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(function())
        except Broken as error:
            results.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_items_come_in_order_until_closed() -> None:
    channel: Channel[int] = Channel(3)
    for item in (1, 2, 3):
        channel.put(item)
    channel.close()
    exhausted = [channel.exhausted]
    assert list(channel) == [1, 2, 3]
    exhausted.append(channel.exhausted)
    assert exhausted == [False, True]
    assert channel.get() is None


def test_get_gives_up_after_its_time() -> None:
    channel: Channel[int] = Channel(1)
    assert channel.get(0.0) is None
    assert channel.get(0.001) is None
    assert not channel.exhausted


def test_a_full_channel_makes_put_wait() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    thread, done = in_thread(lambda: channel.put(2))
    thread.join(0.05)
    assert len(done) == 0
    assert channel.get() == 1
    thread.join(PATIENCE_S)
    assert done == [None]
    assert channel.get() == 2


def test_an_empty_channel_makes_get_wait() -> None:
    channel: Channel[int] = Channel(1)
    thread, taken = in_thread(channel.get)
    channel.put(7)
    thread.join(PATIENCE_S)
    assert taken == [7]


def test_closing_wakes_who_waits() -> None:
    channel: Channel[int] = Channel(1)
    thread, taken = in_thread(lambda: list(channel))
    channel.close()
    thread.join(PATIENCE_S)
    assert taken == [[]]


@pytest.mark.parametrize("full", [False, True])
def test_breaking_wakes_who_waits_and_loses_what_is_inside(full: bool) -> None:
    channel: Channel[int] = Channel(1)
    if full:
        channel.put(1)
    thread, ended = in_thread(lambda: channel.put(2) if full else channel.get())
    channel.break_()
    thread.join(PATIENCE_S)
    assert ended == [Broken]
    for use in (channel.get, lambda: channel.put(3)):
        with pytest.raises(Broken):
            use()


def test_nothing_is_lost_between_threads() -> None:
    channel: Channel[int] = Channel(3)

    def put_all() -> None:
        for item in range(2000):
            channel.put(item)
        channel.close()

    thread, _ = in_thread(put_all)
    assert list(channel) == list(range(2000))
    thread.join(PATIENCE_S)
