"""The wire formats by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cade.errors import UsageError
from cade.wire.array_1_0 import Array10Decoder, Array10Encoder
from cade.wire.codec import MAX_MESSAGE_BYTES, Decoder, Encoder
from cade.wire.compression import COMPRESSIONS, Compression
from cade.wire.dectris_v1 import DectrisV1Decoder, DectrisV1Encoder
from cade.wire.dectris_v2 import DectrisV2Decoder, DectrisV2Encoder
from cade.wire.karabo import KaraboDecoder, KaraboEncoder
from cade.wire.odin import OdinDecoder, OdinEncoder
from cade.wire.options import DecoderOptions, EncoderOptions
from cade.wire.stins import StinsDecoder, StinsEncoder


@dataclass(frozen=True, slots=True)
class _Format:
    decoder: Callable[[DecoderOptions], Decoder]
    encoder: Callable[[EncoderOptions], Encoder]
    compressions: tuple[Compression, ...] = ()


_FORMATS = {
    "dectris-v2": _Format(DectrisV2Decoder, DectrisV2Encoder, COMPRESSIONS),
    "dectris-v1": _Format(DectrisV1Decoder, DectrisV1Encoder, COMPRESSIONS),
    "array-1.0": _Format(Array10Decoder, Array10Encoder),
    "odin": _Format(OdinDecoder, OdinEncoder, COMPRESSIONS),
    "karabo": _Format(KaraboDecoder, KaraboEncoder),
    "stins": _Format(StinsDecoder, StinsEncoder, ("bslz4",)),
}

FORMATS = tuple(_FORMATS)


def decoder(
    name: str,
    *,
    role_key: str = "role",
    channel: str | None = None,
    calibration: bool = False,
    max_bytes: int = MAX_MESSAGE_BYTES,
    origin: str = "",
    clock: Callable[[], float] = time.time,
) -> Decoder:
    """A fresh decoder of the named format.

    Args:
        name: one of `FORMATS`.
        role_key: key of the header or of `user_data` that names the role.
        channel: which of several images is taken, the first one if None: a detector channel
            (dectris-v2), a dataset (odin), a number from 1 (stins) or source[key] (karabo).
        calibration: decode the detector's flat field and pixel mask, where it sends them.
        max_bytes: largest message, and largest image in it once decompressed.
        origin: what `Frame.origin` is to say, usually the endpoint.
        clock: Unix time in s, for messages that carry none.

    Raises:
        UsageError: there is no such format, or its extra is not installed.
    """
    return _format(name).decoder(
        DecoderOptions(role_key, channel, calibration, max_bytes, origin, clock)
    )


def encoder(
    name: str,
    *,
    role_key: str = "role",
    compression: Compression | None = None,
    saturation_value: float | None = None,
) -> Encoder:
    """A fresh encoder of the named format; only DECTRIS's carry a saturation.

    Raises:
        UsageError: there is no such format, it cannot carry what is asked, or its extra is not
            installed.
    """
    found = _format(name)
    if compression is not None and compression not in found.compressions:
        raise UsageError(f"{name} carries no {compression}: send it uncompressed")
    return found.encoder(EncoderOptions(role_key, compression, saturation_value))


def _format(name: str) -> _Format:
    if name not in _FORMATS:
        raise UsageError(f"wire format {name!r} is not known; known are {', '.join(FORMATS)}")
    return _FORMATS[name]
