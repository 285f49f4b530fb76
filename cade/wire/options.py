"""What a decoder or an encoder is told when it is made; `cade.wire.decoder` describes each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cade.wire.codec import MAX_MESSAGE_BYTES
from cade.wire.compression import Compression


@dataclass(frozen=True, slots=True)
class DecoderOptions:
    """The same for every format; a format leaves aside what it has not."""

    role_key: str = "role"
    channel: str | None = None
    calibration: bool = False
    max_bytes: int = MAX_MESSAGE_BYTES
    origin: str = ""
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """The same for every format; a format leaves aside what it has not."""

    role_key: str = "role"
    compression: Compression | None = None
    saturation_value: float | None = None
