"""What daemon and IOC say to each other: one JSON object a line."""

from __future__ import annotations

import json
from typing import Any

Message = dict[str, Any]

MOST_BYTES = 1 << 16
"""Longest line; a peer that sends longer ones is out of its mind."""


def encode(message: Message) -> bytes:
    """The message as a line."""
    return json.dumps(message).encode() + b"\n"


class LineReader:
    """Puts lines together from bytes as they come."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> list[Message]:
        """The messages that these bytes complete.

        Raises:
            ValueError: what came is no message.
        """
        *lines, self._rest = (self._rest + received).split(b"\n")
        if len(self._rest) > MOST_BYTES:
            raise ValueError(f"a line of more than {MOST_BYTES} bytes")
        return [_decode(line) for line in lines]


def _decode(line: bytes) -> Message:
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"{line[:60]!r} is no JSON object")
    return message
