"""One receiving ZeroMQ socket of a stream, kept alive through whatever a peer sends."""

from __future__ import annotations

import zmq

from cade.errors import CadeError
from cade.wire import Buffer
from daemon.settings import StreamSettings
from daemon.sources.stream_allow_list import ZAP_DOMAIN
from daemon.sources.stream_keys import StreamKeys
from daemon.sources.stream_watch import PeerWatch

_OVERSIZE = 4
"""The decoder counts messages above the limit; the socket cuts those this many times larger."""

_MISSED_HEARTBEATS = 4

_OPTIONS = {
    zmq.LINGER: 0,
    # A peer that vanished without a word is noticed, and connected to again when it is back.
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 30,
    zmq.TCP_KEEPALIVE_INTVL: 10,
    zmq.TCP_KEEPALIVE_CNT: 3,
}

_REQUEST = b"next"
"""What a karabo bridge waits for before it sends a train."""

_SOCKETS = {"pull": zmq.PULL, "sub": zmq.SUB, "req": zmq.REQ}

Context = zmq.Context[zmq.Socket[bytes]]


class StreamSocket:
    """A PULL, SUB or REQ socket of one endpoint; make, use and close it in one thread.

    Args:
        settings: of the source.
        endpoint: one of its endpoints.
        context: where the socket is made.
        keys: what encrypts it, if anything.
        capacity: messages that may wait in it, for each peer.

    Raises:
        CadeError: the endpoint cannot be bound or connected to.
    """

    def __init__(
        self,
        settings: StreamSettings,
        endpoint: str,
        context: Context,
        keys: StreamKeys | None,
        capacity: int,
    ) -> None:
        self._settings, self._endpoint, self._context = settings, endpoint, context
        self._keys, self._capacity = keys, capacity
        self._asked = False
        self._make_socket()
        try:
            self._open()
        except zmq.ZMQError as error:
            self.close()
            verb = "bind" if settings.bind else "connect to"
            raise CadeError(
                f"stream: cannot {verb} {endpoint}: {error.strerror}; "
                "check `endpoint` and `bind` of the source"
            ) from error

    def _make_socket(self) -> None:
        self.socket = self._context.socket(_SOCKETS[self._settings.socket])
        self._watch = PeerWatch(
            self.socket,
            self._endpoint,
            encrypted=self._keys is not None,
            server=self._settings.bind,
        )

    def _open(self) -> None:
        settings = self._settings
        for option, value in _OPTIONS.items():
            self.socket.setsockopt(option, value)
        if settings.heartbeat_s:
            interval_ms = max(1, round(settings.heartbeat_s * 1000))
            self.socket.setsockopt(zmq.HEARTBEAT_IVL, interval_ms)
            self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _MISSED_HEARTBEATS * interval_ms)
            self.socket.setsockopt(zmq.HANDSHAKE_IVL, _MISSED_HEARTBEATS * interval_ms)
        self.socket.setsockopt(zmq.RCVHWM, self._capacity)
        self.socket.setsockopt(zmq.MAXMSGSIZE, _OVERSIZE * settings.max_message_bytes)
        self._encrypt()
        if settings.socket == "sub":
            self.socket.subscribe(b"")
        if settings.bind:
            self.socket.bind(self._endpoint)
        else:
            self.socket.connect(self._endpoint)

    def _encrypt(self) -> None:
        keys = self._keys
        if keys is None:
            return
        self.socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        if keys.server is not None:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
            return
        self.socket.setsockopt(zmq.CURVE_SERVER, 1)
        self.socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN.encode())
        self.socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # nobody to ask: nobody gets in

    def request(self) -> None:
        """Ask for the next message where the sender waits for that, unless it has been asked."""
        if self._settings.socket != "req" or self._asked:
            return
        try:
            self.socket.send(_REQUEST, zmq.NOBLOCK)
        except zmq.Again:
            return  # nobody is connected
        self._asked = True

    def receive(self) -> list[Buffer]:
        """The parts of the message that waits, views of ZeroMQ's memory."""
        parts: list[Buffer] = [frame.buffer for frame in self.socket.recv_multipart(copy=False)]
        self._asked = False
        return parts

    def restore(self) -> str | None:
        """Connect again if ZeroMQ has given up; call it now and then.

        It gives up for ever, without a word, when the peer sends more than `MAXMSGSIZE` allows,
        does not speak its protocol, or does not let us in.

        Returns:
            What broke the connection, where that is a message or no ZeroMQ at all.
        """
        if self._watch.look() and self._asked:
            self._ask_anew()
        if not self._watch.given_up:
            return None
        refused = self._watch.refused
        if self._asked:
            self._ask_anew()
        else:
            self._watch.forgive()
            self.socket.disconnect(self._endpoint)
            self.socket.connect(self._endpoint)
        limit = _OVERSIZE * self._settings.max_message_bytes
        return (
            None
            if refused
            else f"the connection broke on a message above {limit} bytes, or on a peer that does "
            "not speak ZeroMQ; connected again"
        )

    def _ask_anew(self) -> None:
        """The peer has vanished with the request, and only a fresh REQ socket may ask again."""
        self.close()
        self._make_socket()
        self._open()
        self._asked = False

    def close(self) -> None:
        """Close the socket; what it still holds is lost."""
        self._watch.close()
        self.socket.close(linger=0)
