"""The endpoints of a stream as one: whatever comes next, from whichever."""

from __future__ import annotations

import ipaddress
import time
from collections import deque

import structlog
import zmq

from cade.wire import Buffer
from daemon.settings import StreamSettings
from daemon.sources.stream_allow_list import AllowList
from daemon.sources.stream_keys import StreamKeys, stream_keys
from daemon.sources.stream_socket import Context, StreamSocket

FEWEST, MOST = 2, 64
"""Bounds of ZeroMQ's high-water mark: with one message, sender and receiver wait for one another.

The mark counts messages, of which each may be the largest, and cannot be changed while messages
wait: ZeroMQ may then never read on. What is to wait in numbers waits behind it, counted in bytes.
"""
_LOOK_S = 1.0


class Connection:
    """A socket for each endpoint of a source; make, use and close it in one thread.

    Raises:
        CadeError: an endpoint cannot be bound or connected to, or a key cannot be read.
    """

    def __init__(self, settings: StreamSettings, context: Context) -> None:
        self._own_context: Context | None = None
        self._allow_list: AllowList | None = None
        self._sockets: deque[StreamSocket] = deque()
        self._looked_s = time.monotonic()
        self.capacity = 0
        """Messages that may wait in the sockets, if each has one peer."""
        keys = stream_keys(settings)
        try:
            self._open(settings, context, keys)
        except BaseException:
            self.close()
            raise

    def _open(self, settings: StreamSettings, context: Context, keys: StreamKeys | None) -> None:
        if keys is not None and settings.bind:
            # ZeroMQ asks one list a context, and other sources have others.
            self._own_context = context = zmq.Context()
            self._allow_list = AllowList(keys.allowed, context)
        elif settings.bind:
            _warn_of_open_doors(settings)
        mark = min(max(settings.queue_bytes // settings.max_message_bytes, FEWEST), MOST)
        for endpoint in settings.endpoints:
            self._sockets.append(StreamSocket(settings, endpoint, context, keys, mark))
            self.capacity += mark

    def request(self) -> None:
        """Ask for the next message where the sender waits for that, unless it has been asked."""
        for one in self._sockets:
            one.request()

    def receive(self, timeout_s: float) -> list[Buffer] | None:
        """The parts of the next message, views of ZeroMQ's memory; None if there is none.

        Endpoints that have messages take turns.
        """
        poller = zmq.Poller()
        for one in self._sockets:
            poller.register(one.socket, zmq.POLLIN)
        ready = dict(poller.poll(round(timeout_s * 1000)))
        for _ in range(len(self._sockets)):
            one = self._sockets[0]
            self._sockets.rotate(-1)
            if one.socket in ready:
                return one.receive()
        return None

    @property
    def look_due(self) -> bool:
        """Whether the last `restore` is so long ago that even a busy stream should call it."""
        return time.monotonic() - self._looked_s >= _LOOK_S

    def restore(self) -> str | None:
        """Connect again whatever ZeroMQ has given up; call it when nothing is waiting.

        Returns:
            What broke a connection, where that was a message, or a peer without ZeroMQ.
        """
        self._looked_s = time.monotonic()
        found = [refusal for one in self._sockets if (refusal := one.restore()) is not None]
        return "; ".join(found) or None

    def close(self) -> None:
        """Close the sockets; what they still hold is lost."""
        for one in self._sockets:
            one.close()
        if self._allow_list is not None:
            self._allow_list.close()
        if self._own_context is not None:
            self._own_context.term()


def _warn_of_open_doors(settings: StreamSettings) -> None:
    for endpoint in settings.endpoints:
        if not _is_local(endpoint):
            structlog.get_logger(__name__).warning(
                "everybody who reaches this endpoint can send frames; bind to 127.0.0.1, or set "
                "curve_secret_key and curve_allowed_keys",
                endpoint=endpoint,
            )


def _is_local(endpoint: str) -> bool:
    """Whether only programs on this machine can connect."""
    transport, _, address = endpoint.partition("://")
    host = address.rpartition(":")[0].strip("[]")
    if transport == "ipc" or host in {"localhost", "lo"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, an interface, or *
        return False
