"""The socket that a detector binds: it waits for who receives, and loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import zmq

from cade.errors import CadeError
from cade.wire import Buffer
from simulator.stream_traits import SocketKind

_KINDS = {"push": zmq.PUSH, "pub": zmq.XPUB, "rep": zmq.REP}
_REQUEST = b"next"
_QUEUE_MESSAGES = 16


class DetectorSocket:
    """A context manager that has sent all when it closes.

    Args:
        kind: "push" waits for a receiver, "pub" for a subscriber, "rep" for a request of every
            message.
        endpoint: for example `tcp://127.0.0.1:31001`; the port `*` takes a free one.
        timeout_s: how long to wait for a receiver to take a message.

    Raises:
        CadeError: the endpoint cannot be bound.
    """

    def __init__(self, kind: SocketKind, endpoint: str, timeout_s: float) -> None:
        self.sent_bytes = 0
        self._timeout_s = timeout_s
        self._kind = kind
        self._awaits_subscriber = kind == "pub"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(_KINDS[kind])
        self._socket.setsockopt(zmq.SNDHWM, _QUEUE_MESSAGES)
        self._socket.setsockopt(zmq.SNDTIMEO, round(timeout_s * 1000))
        if self._awaits_subscriber:
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)  # else a slow subscriber loses images
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise CadeError(
                f"emulator: cannot bind {endpoint}: {error.strerror}; choose another endpoint"
            ) from error
        self.endpoint: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        """Where it is bound, with the port that was found."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        # After a failure nobody may be there to take what is left.
        self._context.destroy(linger=round(self._timeout_s * 1000) if kind is None else 0)

    def await_subscriber(self) -> None:
        """Wait until the first one is there, where what is sent to nobody would be lost.

        Raises:
            CadeError: nobody came in time.
        """
        if not self._awaits_subscriber:
            return
        if not self._socket.poll(round(self._timeout_s * 1000)):
            raise self._nobody()
        self._socket.recv()
        self._awaits_subscriber = False

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send a message, as soon as somebody takes it.

        Raises:
            CadeError: nobody received in time.
        """
        self._await_request()
        try:
            self._socket.send_multipart(parts)
        except zmq.Again:
            raise self._nobody() from None
        self.sent_bytes += sum(len(part) for part in parts)

    def _await_request(self) -> None:
        """Wait until somebody asks for a message, where one has to; answer who asks wrongly."""
        while self._kind == "rep":
            if not self._socket.poll(round(self._timeout_s * 1000)):
                raise self._nobody()
            request = self._socket.recv()
            if request == _REQUEST:
                return
            self._socket.send(b"Error: bad request %b" % request[:40])

    def _nobody(self) -> CadeError:
        return CadeError(
            f"emulator: nobody received on {self.endpoint} for {self._timeout_s:g} s; "
            "is the daemon's source connected to it?"
        )
