"""Images that overtook the start message of their series, which came by another endpoint."""

from __future__ import annotations

import time

from cade.wire import Buffer


class EarlyImages:
    """Keeps messages, undecoded: the start message may say how to decode them.

    Args:
        max_messages: so many may wait.
        max_bytes: memory of their parts.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._messages: list[list[Buffer]] = []
        self._bytes = 0
        self._since_s = 0.0

    @property
    def waiting_s(self) -> float:
        """How long the first of them has waited; 0 where none does."""
        return time.monotonic() - self._since_s if self._messages else 0.0

    def hold(self, parts: list[Buffer]) -> bool:
        """Keep a message; False where there is no room for it."""
        size = sum(memoryview(part).nbytes for part in parts)
        if len(self._messages) >= self._max_messages or self._bytes + size > self._max_bytes:
            return False
        if not self._messages:
            self._since_s = time.monotonic()
        self._messages.append(parts)
        self._bytes += size
        return True

    def take(self) -> list[list[Buffer]]:
        """All that wait, in the order in which they came; none waits any more."""
        messages, self._messages, self._bytes = self._messages, [], 0
        return messages
