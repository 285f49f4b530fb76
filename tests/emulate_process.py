"""`cade emulate` in a process of its own, and the real source that receives it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from cade.frames import Event, Frame, Rejected
from daemon.settings import StreamSettings
from daemon.sources.stream import StreamSource
from tests.daemon_process import environment


@contextmanager
def emulate(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the endpoint that it says it has bound; a port that is free."""
    command = [sys.executable, "-m", "daemon", "emulate", "--endpoint", "tcp://127.0.0.1:*", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"publishing .+ on (tcp://127\.0\.0\.1:\d+)\n", line)
            assert found, line
            yield process, found[1]
        finally:
            process.kill()


def receive(endpoint: str, last: int, **settings: object) -> list[Event]:
    """Events up to the `last`-th frame or rejection."""
    stop = threading.Event()
    events: list[Event] = []
    with zmq.Context() as context:
        found = StreamSettings.model_validate(settings | {"endpoint": endpoint})
        for event in StreamSource(found, context).events(stop):
            events.append(event)
            if sum(isinstance(e, Frame | Rejected) for e in events) == last:
                stop.set()
    return events
