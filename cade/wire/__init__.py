"""Wire formats, one module each: bytes to values, and values to bytes beside it."""

from cade.wire.codec import Buffer, Decoder, Encoder, Message, WireError
from cade.wire.formats import FORMATS, decoder, encoder

__all__ = [
    "FORMATS",
    "Buffer",
    "Decoder",
    "Encoder",
    "Message",
    "WireError",
    "decoder",
    "encoder",
]
