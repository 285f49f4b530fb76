"""An image's message, broken so that every reader of its format must notice.

Bits that flip in pixels, or in the literals of compressed ones, make another valid image, and no
reader can tell. What is damaged here is structure.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from cade.frames import Image
from cade.wire import Buffer
from cade.wire.compression import BLOCK_BYTES
from simulator.stream_traits import Damage

# None of these is a message of any format: wrong at the first byte, endless, absurd or bottomless.
HOSTILE = (
    b"\xff" + np.random.default_rng(20).bytes(4096),
    b"",
    b"\x5b" + b"\xff" * 8 + b"a byte string of 2**64 - 1 bytes",
    b"\x81" * 100_000,
    b'{"htype":"array-1.0","type":"uint16","shape":[1000000000,1000000000],"frame":0}',
    b"[" * 100_000,
)

_FRAME = struct.Struct(">QI")
_LENGTH = struct.Struct(">I")
_LEAST_BYTES = 64
"""Of fewer than eight pixels bslz4 makes no block."""


def truncated(parts: Sequence[Buffer]) -> tuple[Buffer, ...]:
    """A message whose last part ends half-way."""
    *whole, cut = parts
    return *whole, bytes(cut)[: len(cut) // 2]


def other_shape(image: Image) -> Image:
    """The image without its last row, or doubled where it has only one."""
    return image[:-1] if len(image) > 1 else np.concatenate([image, image])


def corrupted(
    parts: Sequence[Buffer], image: Image, draw: np.random.Generator
) -> tuple[Damage, tuple[Buffer, ...]]:
    """An image's message, damaged in one of the ways that its format offers, and which one.

    "header": its first bytes are noise. "hostile": its first part is one of `HOSTILE`. "part": the
    last part is missing, where there are several. "payload": the length of one of the blocks of its
    compressed pixels is absurd, where they are compressed.
    """
    ways: list[Damage] = ["header", "hostile"]
    blocks = _block_lengths(parts, image.nbytes)
    if len(parts) > 1:
        ways.append("part")
    if blocks:
        ways.append("payload")
    way = ways[draw.integers(len(ways))]
    match way:
        case "header":
            # 0xff begins no JSON, no msgpack map and no item of CBOR.
            noise = b"\xff" + draw.bytes(15)
            return way, (noise + bytes(parts[0])[len(noise) :], *parts[1:])
        case "part":
            return way, tuple(parts[:-1])
        case "payload":
            index, position = blocks[draw.integers(len(blocks))]
            return way, _overwritten(parts, index, position)
    return way, (HOSTILE[draw.integers(len(HOSTILE))], *parts[1:])


def _overwritten(parts: Sequence[Buffer], index: int, position: int) -> tuple[Buffer, ...]:
    """With the four bytes there all ones."""
    damaged = bytearray(parts[index])
    damaged[position : position + _LENGTH.size] = b"\xff" * _LENGTH.size
    return *parts[:index], bytes(damaged), *parts[index + 1 :]


def _block_lengths(parts: Sequence[Buffer], image_bytes: int) -> list[tuple[int, int]]:
    """Part and position of the length of every compressed block; none where nothing is framed."""
    if image_bytes < _LEAST_BYTES:
        return []
    frame = _FRAME.pack(image_bytes, BLOCK_BYTES)
    for index, part in enumerate(parts):
        data = bytes(part)
        position = data.find(frame) + len(frame)
        if position < len(frame):
            continue
        found = []
        for _ in range(max(1, image_bytes // BLOCK_BYTES)):
            found.append((index, position))
            position += _LENGTH.size + _LENGTH.unpack_from(data, position)[0]
        return found
    return []
