"""The receiving ZeroMQ socket of a stream, kept alive through whatever a peer sends."""

from __future__ import annotations

import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from cade.errors import CadeError
from cade.wire import Buffer
from daemon.settings import StreamSettings

_OVERSIZE = 4
"""The decoder counts messages above the limit; the socket cuts those this many times larger."""

_RETRY_S = 1.0
"""A lost connection that ZeroMQ has not tried to restore for this long is given up by it."""

_LOST = zmq.Event.DISCONNECTED | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
_ALIVE = zmq.Event.CONNECT_RETRIED | zmq.Event.CONNECT_DELAYED | zmq.Event.CONNECTED

_OPTIONS = {
    zmq.LINGER: 0,
    # A peer that vanished without a word is noticed, and connected to again when it is back.
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 30,
    zmq.TCP_KEEPALIVE_INTVL: 10,
    zmq.TCP_KEEPALIVE_CNT: 3,
    zmq.HEARTBEAT_IVL: 5_000,
    zmq.HEARTBEAT_TIMEOUT: 20_000,
}


_REQUEST = b"next"
"""What a karabo bridge waits for before it sends a train."""

_SOCKETS = {"pull": zmq.PULL, "sub": zmq.SUB, "req": zmq.REQ}


class Connection:
    """A PULL, SUB or REQ socket; make, use and close it in one thread.

    Raises:
        CadeError: the endpoint cannot be bound or connected to.
    """

    def __init__(self, settings: StreamSettings, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._settings, self._context = settings, context
        self._lost_s: float | None = None
        self._asked = False
        self._make_socket()
        try:
            self._open()
        except zmq.ZMQError as error:
            self.close()
            verb = "bind" if settings.bind else "connect to"
            raise CadeError(
                f"stream: cannot {verb} {settings.endpoint}: {error.strerror}; "
                "check `endpoint` and `bind` of the source"
            ) from error

    def _make_socket(self) -> None:
        self._socket = self._context.socket(_SOCKETS[self._settings.socket])
        self._monitor = self._socket.get_monitor_socket(_LOST | _ALIVE)

    def _open(self) -> None:
        for option, value in _OPTIONS.items():
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.RCVHWM, self._settings.queue_frames)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _OVERSIZE * self._settings.max_message_bytes)
        if self._settings.socket == "sub":
            self._socket.subscribe(b"")
        if self._settings.bind:
            self._socket.bind(self._settings.endpoint)
        else:
            self._socket.connect(self._settings.endpoint)

    def request(self) -> None:
        """Ask for the next message where the sender waits for that, unless it has been asked."""
        if self._settings.socket != "req" or self._asked:
            return
        try:
            self._socket.send(_REQUEST, zmq.NOBLOCK)
        except zmq.Again:
            return  # nobody is connected
        self._asked = True

    def receive(self, timeout_s: float) -> list[Buffer] | None:
        """The parts of the next message, views of ZeroMQ's memory; None if there is none."""
        if not self._socket.poll(round(timeout_s * 1000)):
            return None
        parts: list[Buffer] = [frame.buffer for frame in self._socket.recv_multipart(copy=False)]
        self._asked = False
        return parts

    def restore(self) -> str | None:
        """Connect again if ZeroMQ has given up; call it when nothing is waiting.

        It gives up for ever, without a word, when the peer sends more than `MAXMSGSIZE` allows or
        does not speak its protocol.

        Returns:
            What happened, if it did.
        """
        retried = False
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            if event & _LOST:
                self._lost_s = time.monotonic()
            else:
                retried = retried or self._lost_s is not None
                self._lost_s = None
        if retried and self._asked:
            self._ask_anew()
        if self._settings.bind or self._lost_s is None:
            return None
        if time.monotonic() - self._lost_s < _RETRY_S:
            return None
        self._lost_s = None
        if self._asked:
            self._ask_anew()
        else:
            self._socket.disconnect(self._settings.endpoint)
            self._socket.connect(self._settings.endpoint)
        limit = _OVERSIZE * self._settings.max_message_bytes
        return (
            f"the connection broke on a message above {limit} bytes, or on a peer that does not "
            "speak ZeroMQ; connected again"
        )

    def _ask_anew(self) -> None:
        """The peer has vanished with the request, and only a fresh REQ socket may ask again."""
        self.close()
        self._make_socket()
        self._open()
        self._asked = False

    def close(self) -> None:
        """Close the socket; what it still holds is lost."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
