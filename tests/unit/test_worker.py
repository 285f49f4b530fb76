"""Threads whose failures reach the supervisor."""

from __future__ import annotations

import threading

import pytest

from daemon.channel import Broken
from daemon.worker import Worker

PATIENCE_S = 30.0


class Failures:
    """What a worker hands on."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, BaseException]] = []

    def __call__(self, name: str, error: BaseException) -> None:
        self.seen.append((name, error))


def test_runs_under_its_name_until_it_ends() -> None:
    go, names, failures = threading.Event(), list[str](), Failures()

    def work() -> None:
        go.wait(PATIENCE_S)
        names.append(threading.current_thread().name)

    worker = Worker("tracking", work, failures)
    assert not worker.is_alive()
    worker.start()
    assert worker.is_alive()
    assert not worker.join(0.0)
    go.set()
    assert worker.join(PATIENCE_S)
    assert not worker.is_alive()
    assert names == ["tracking"]
    assert failures.seen == []


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_it_raises_is_handed_on(error: BaseException) -> None:
    failures = Failures()

    def work() -> None:
        raise error

    worker = Worker("pairing", work, failures)
    worker.start()
    assert worker.join(PATIENCE_S)
    assert failures.seen == [("pairing", error)]


def test_a_broken_queue_is_no_failure_of_its_own() -> None:
    failures = Failures()

    def work() -> None:
        raise Broken

    worker = Worker("recording", work, failures)
    worker.start()
    assert worker.join(PATIENCE_S)
    assert failures.seen == []
