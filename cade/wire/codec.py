"""What a wire format offers: a decoder, bytes to values, and an encoder, values to bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cade.errors import CadeError
from cade.frames import Frame, SeriesEnd, SeriesStart

Message = SeriesStart | Frame | SeriesEnd
Buffer = bytes | bytearray | memoryview

MAX_MESSAGE_BYTES = 1 << 30
"""Largest message, and largest image in it once decompressed, unless the caller says otherwise."""


class WireError(CadeError):
    """A message that its format does not allow; the text says what is wrong in it.

    Args:
        detail: what is wrong.
        image_id: the image that the message was to carry, -1 where that is not known.
    """

    def __init__(self, detail: str, *, image_id: int = -1) -> None:
        super().__init__(detail)
        self.image_id = image_id


class Decoder(Protocol):
    """Bytes to values. It keeps what later messages of a series need, so it serves one stream."""

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        """Events of one multipart message.

        An uncompressed image is a read-only view of its part, in native byte order and perhaps
        not aligned; copy it where that matters.

        Raises:
            WireError: the message is malformed or hostile. The next good one decodes.
        """

    def forget(self) -> None:
        """Forget the current series, which has ended without a message that says so."""


class Encoder(Protocol):
    """Values to bytes, as the real detector would send them."""

    def encode(self, message: Message) -> tuple[Buffer, ...]:
        """Parts of the message; empty where the format has no such message."""
