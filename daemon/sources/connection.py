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


class Connection:
    """A PULL or SUB socket; make, use and close it in one thread.

    Raises:
        CadeError: the endpoint cannot be bound or connected to.
    """

    def __init__(self, settings: StreamSettings, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._settings = settings
        self._lost_s: float | None = None
        self._socket = context.socket(zmq.PULL if settings.socket == "pull" else zmq.SUB)
        self._monitor = self._socket.get_monitor_socket(_LOST | _ALIVE)
        try:
            self._open()
        except zmq.ZMQError as error:
            self.close()
            verb = "bind" if settings.bind else "connect to"
            raise CadeError(
                f"stream: cannot {verb} {settings.endpoint}: {error.strerror}; "
                "check `endpoint` and `bind` of the source"
            ) from error

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

    def receive(self, timeout_s: float) -> list[Buffer] | None:
        """The parts of the next message, views of ZeroMQ's memory; None if there is none."""
        if not self._socket.poll(round(timeout_s * 1000)):
            return None
        return [frame.buffer for frame in self._socket.recv_multipart(copy=False)]

    def restore(self) -> str | None:
        """Connect again if ZeroMQ has given up; call it when nothing is waiting.

        It gives up for ever, without a word, when the peer sends more than `MAXMSGSIZE` allows or
        does not speak its protocol.

        Returns:
            What happened, if it did.
        """
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            self._lost_s = time.monotonic() if event & _LOST else None
        if self._settings.bind or self._lost_s is None:
            return None
        if time.monotonic() - self._lost_s < _RETRY_S:
            return None
        self._lost_s = None
        self._socket.disconnect(self._settings.endpoint)
        self._socket.connect(self._settings.endpoint)
        limit = _OVERSIZE * self._settings.max_message_bytes
        return (
            f"the connection broke on a message above {limit} bytes, or on a peer that does not "
            "speak ZeroMQ; connected again"
        )

    def close(self) -> None:
        """Close the socket; what it still holds is lost."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
