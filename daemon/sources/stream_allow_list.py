"""Who may connect to a socket of ours: a list of public keys, which ZeroMQ asks for every peer."""

from __future__ import annotations

import structlog
import zmq
from zmq.auth.thread import ThreadAuthenticator

ZAP_DOMAIN = "cade"
_MOST_TOLD = 100


class AllowList:
    """Answers ZeroMQ's questions (ZAP, RFC 27) in a thread of its own, until it is closed.

    Args:
        allowed: public keys, 40 characters each.
        context: of the sockets that it guards; there is one list a context.
    """

    def __init__(self, allowed: frozenset[bytes], context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._allowed = allowed
        self._told: set[bytes] = set()
        self._log = structlog.get_logger(__name__)
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.configure_curve_callback(ZAP_DOMAIN, self)
        self._authenticator.start()

    def callback(self, _: str, key: bytes) -> bool:
        """Whether the owner of a public key may connect; pyzmq calls it."""
        if key in self._allowed:
            return True
        if key not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(key)
            self._log.warning(
                "a peer was refused: its public key is not in curve_allowed_keys",
                public_key=key.decode("ascii", "replace"),
            )
        return False

    def close(self) -> None:
        """End the thread."""
        self._authenticator.stop()
