"""The wire formats by name."""

from __future__ import annotations

import time
from collections.abc import Callable

from cade.errors import UsageError
from cade.wire.array_1_0 import Array10Decoder, Array10Encoder
from cade.wire.codec import MAX_MESSAGE_BYTES, Decoder, Encoder
from cade.wire.compression import Compression
from cade.wire.dectris_v2 import DectrisV2Decoder, DectrisV2Encoder

FORMATS = ("dectris-v2", "array-1.0")


def decoder(
    name: str,
    *,
    role_key: str = "role",
    channel: str | None = None,
    max_bytes: int = MAX_MESSAGE_BYTES,
    origin: str = "",
    clock: Callable[[], float] = time.time,
) -> Decoder:
    """A fresh decoder of the named format.

    Args:
        name: one of `FORMATS`.
        role_key: key of the header or of `user_data` that names the role.
        channel: detector channel to take, the first one if None.
        max_bytes: largest message, and largest image in it once decompressed.
        origin: what `Frame.origin` is to say, usually the endpoint.
        clock: Unix time in s, for messages that carry none.

    Raises:
        UsageError: there is no such format.
    """
    if name == "dectris-v2":
        return DectrisV2Decoder(
            role_key=role_key, channel=channel, max_bytes=max_bytes, origin=origin, clock=clock
        )
    if name == "array-1.0":
        return Array10Decoder(role_key=role_key, max_bytes=max_bytes, origin=origin, clock=clock)
    raise _unknown(name)


def encoder(
    name: str,
    *,
    role_key: str = "role",
    compression: Compression | None = None,
    saturation_value: float | None = None,
) -> Encoder:
    """A fresh encoder of the named format; array-1.0 carries no compression and no saturation.

    Raises:
        UsageError: there is no such format, or it cannot carry what is asked.
    """
    if name == "dectris-v2":
        return DectrisV2Encoder(
            role_key=role_key, compression=compression, saturation_value=saturation_value
        )
    if name == "array-1.0":
        if compression is not None:
            raise UsageError(f"array-1.0 carries no {compression}: send it uncompressed")
        return Array10Encoder(role_key=role_key)
    raise _unknown(name)


def _unknown(name: str) -> UsageError:
    return UsageError(f"wire format {name!r} is not known; known are {', '.join(FORMATS)}")
