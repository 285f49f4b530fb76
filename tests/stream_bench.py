"""A stream source in its thread, and detectors for it, on real sockets of one process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socket import create_server

import numpy as np
import zmq

from cade.frames import Event, Frame, Rejected, Role, SeriesEnd, SeriesStart
from cade.wire import Encoder, encoder
from daemon.settings import StreamSettings
from daemon.sources.stream import StreamSource

PATIENCE_S = 30.0
PIXELS = np.arange(12, dtype="u2").reshape(3, 4)

Context = zmq.Context[zmq.Socket[bytes]]


class Running:
    """A source in its thread, and what it yields."""

    def __init__(self, source: StreamSource) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.stop = threading.Event()
        self._source = source
        self.thread = threading.Thread(target=self._run, name=source.name)
        self.thread.start()

    def _run(self) -> None:
        for event in self._source.events(self.stop):
            self.events.put(event)

    def next(self) -> Event:
        return self.events.get(timeout=PATIENCE_S)

    def finish(self) -> list[Event]:
        """Stop, and all that was left."""
        self.stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        return list(self.events.queue)


@contextmanager
def running(context: Context, **settings: object) -> Iterator[Running]:
    source = StreamSource(StreamSettings.model_validate(settings), context)
    run = Running(source)
    try:
        yield run
    finally:
        run.finish()


class Sender:
    """A socket that sends what an encoder makes."""

    def __init__(self, socket: zmq.Socket[bytes], wire_format: str) -> None:
        self.socket = socket
        self.socket.linger = 0
        self.encoder: Encoder = encoder(wire_format)

    def start(self, series_id: str, role: Role | None = None) -> None:
        self.send(SeriesStart(series_id, 1e9, 5, (3, 4), "uint16", role))

    def image(self, series_id: str, image_id: int) -> None:
        self.send(Frame(series_id, image_id, PIXELS, 1e9))

    def end(self, series_id: str) -> None:
        self.send(SeriesEnd(series_id))

    def send(self, message: SeriesStart | Frame | SeriesEnd) -> None:
        parts = self.encoder.encode(message)
        if parts:
            self.socket.send_multipart(parts)


class Detector(Sender):
    """One that is bound to a free port, with a queue of so many messages."""

    def __init__(self, context: Context, kind: int, wire_format: str, queue: int = 1000) -> None:
        super().__init__(context.socket(kind), wire_format)
        self.socket.sndhwm = queue
        self.socket.sndtimeo = round(PATIENCE_S * 1000)
        self.socket.bind("tcp://127.0.0.1:*")
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def close(self) -> None:
        self.socket.close(linger=0)


def free_endpoint() -> str:
    """Where nobody is bound."""
    with create_server(("127.0.0.1", 0)) as server:
        return f"tcp://127.0.0.1:{server.getsockname()[1]}"


def rejection(event: Event) -> Rejected:
    assert isinstance(event, Rejected)
    return event


def kind(event: Event) -> object:
    return event.reason if isinstance(event, Rejected) else type(event)
