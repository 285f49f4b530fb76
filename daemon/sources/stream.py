"""A detector's ZeroMQ stream as a source of events."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import zmq

from cade.frames import Event
from cade.wire import Buffer, WireError, decoder
from daemon.settings import StreamSettings
from daemon.sources.connection import Connection
from daemon.sources.series_gate import SeriesGate

_POLL_S = 0.1


class StreamSource:
    """Receives and decodes one stream.

    Args:
        settings: which stream.
        context: the ZeroMQ context; it must outlive `events`.
    """

    def __init__(self, settings: StreamSettings, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.name = f"stream {settings.endpoint}"
        self._settings = settings
        self._context = context
        self._gate = SeriesGate(settings.endpoint)
        self._decoder = decoder(
            settings.format,
            role_key=settings.role_key,
            channel=settings.channel,
            max_bytes=settings.max_message_bytes,
            origin=settings.endpoint,
        )

    def events(self, stop: threading.Event) -> Iterator[Event]:
        """Events until `stop` is set and what had arrived by then is handed on.

        Iterate in one thread only: the socket is made and closed in it. A series that is open at
        the end is left open. Whatever cannot be decoded comes as `Rejected`.

        Raises:
            CadeError: the endpoint cannot be bound or connected to.
        """
        connection = Connection(self._settings, self._context)
        try:
            yield from self._receive(connection, stop)
            for _ in range(self._settings.queue_frames):  # bounded: the detector may go on sending
                parts = connection.receive(0.0)
                if parts is None:
                    break
                yield from self._decode(parts)
        finally:
            connection.close()

    def _receive(self, connection: Connection, stop: threading.Event) -> Iterator[Event]:
        last_s = time.monotonic()
        while not stop.is_set():
            connection.request()
            parts = connection.receive(_POLL_S)
            if parts is not None:
                yield from self._decode(parts)
                last_s = time.monotonic()
                continue
            refusal = connection.restore()
            if refusal is not None:
                yield self._gate.malformed(WireError(refusal))
            silence_s = self._settings.silence_s
            if silence_s is not None and time.monotonic() - last_s > silence_s:
                self._decoder.forget()
                yield from self._gate.close()

    def _decode(self, parts: list[Buffer]) -> Iterator[Event]:
        try:
            messages = self._decoder.decode(parts)
        except WireError as error:
            yield self._gate.malformed(error)
            return
        for message in messages:
            yield from self._gate.take(message)
