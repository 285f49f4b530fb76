"""What ZeroMQ says of a socket's peers: who came, who was lost, whose handshake failed."""

from __future__ import annotations

import time

import structlog
import zmq
from zmq.utils.monitor import recv_monitor_message

_RETRY_S = 1.0
"""A lost connection that ZeroMQ has not tried to restore for this long is given up by it."""

_FAILED = (
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
)
_BACK = zmq.Event.CONNECT_RETRIED | zmq.Event.CONNECT_DELAYED | zmq.Event.CONNECTED
_UP = zmq.Event.HANDSHAKE_SUCCEEDED
_DOWN = zmq.Event.DISCONNECTED

_OTHER_KEY = 0x11000001  # ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC
_OTHER_MECHANISM = 0x11000002  # ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH

_NOT_ALLOWED = (
    "the detector does not allow our public key; give it to the detector ('cade keys show' prints "
    "it)"
)
_HUNG_UP = {  # by: do we encrypt, and do we bind
    (True, False): "the detector hung up in the handshake: does it encrypt with CURVE, and is "
    "curve_server_key its public key?",
    (True, True): "a peer hung up in the handshake: does it encrypt with CURVE, and has it the "
    "public key of this daemon?",
    (False, False): "the detector hung up in the handshake: if it wants encryption, set "
    "curve_secret_key and curve_server_key",
    (False, True): "a peer hung up in the handshake: if it wants encryption, set curve_secret_key "
    "and curve_allowed_keys",
}


class PeerWatch:
    """Reads the events of one socket, and logs each change once; use it in the socket's thread.

    Args:
        socket: whose events; its monitor is open until `close`.
        endpoint: what the log calls it.
        encrypted: whether it speaks CURVE.
        server: whether it binds, and peers come and go.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], endpoint: str, *, encrypted: bool, server: bool
    ) -> None:
        self._socket, self._endpoint = socket, endpoint
        self._encrypted, self._server = encrypted, server
        self._monitor = socket.get_monitor_socket(_FAILED | _BACK | _UP | _DOWN)
        self._log = structlog.get_logger(__name__)
        self._lost_s: float | None = None
        self._told: set[str] = set()
        self._peers = 0
        self.refused = False
        """Whether the last handshake failed for a reason that the log has."""

    def look(self) -> bool:
        """Take all events; whether a lost connection is on its way again."""
        back = False
        while self._monitor.poll(0):
            message = recv_monitor_message(self._monitor)
            event, value = message["event"], message["value"]
            if event & _FAILED:
                self._handshake_failed(event, value)
            elif event == _UP:
                self._up()
            elif event == _DOWN:
                self._down()
            else:
                back = back or self._lost_s is not None
                self._lost_s = None
        return back

    @property
    def given_up(self) -> bool:
        """Whether ZeroMQ has lost the connection for good: it does not come back by itself."""
        if self._server or self._lost_s is None:
            return False
        return time.monotonic() - self._lost_s >= _RETRY_S

    def forgive(self) -> None:
        """It has been connected to again."""
        self._lost_s = None

    def close(self) -> None:
        """End the monitor, before its socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    def _up(self) -> None:
        self._peers += 1
        self._lost_s, self.refused = None, False
        if not self._server:  # else peers that are refused may come and go beside the good ones
            self._told.clear()
        self._log.info("stream connected", endpoint=self._endpoint)

    def _down(self) -> None:
        self._lost_s = time.monotonic()
        if self._peers:  # else no handshake had succeeded
            self._peers -= 1
            self._log.warning("stream connection lost", endpoint=self._endpoint)

    def _handshake_failed(self, event: int, value: int) -> None:
        if event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
            self._lost_s = time.monotonic()
        problem = self._problem(event, value)
        self.refused = bool(problem)
        if problem and problem not in self._told:
            self._told.add(problem)
            self._log.warning("stream refused", endpoint=self._endpoint, problem=problem)

    def _problem(self, event: int, value: int) -> str:
        """What is wrong and what to do; empty where it is no matter of encryption.

        Who hangs up first is chance, so that a peer of the other mechanism is seen as one that
        hung up as well: the two are told in the same words.
        """
        if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
            return "" if self._server else _NOT_ALLOWED  # our own allow list says it, with the key
        if value == _OTHER_KEY:
            return "the peer has another public key of this daemon; give it the right one"
        if event == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL or value == _OTHER_MECHANISM:
            return _HUNG_UP[self._encrypted, self._server]
        return ""
