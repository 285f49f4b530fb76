"""Images drawn at random with their bytes: they fit their description, or lie in one respect."""

from __future__ import annotations

import functools
import random
import struct
from dataclasses import dataclass

import bitshuffle
import lz4.block
import numpy as np

SMALL_BYTES = 1 << 15
BOMB_BYTES = 1 << 24
SHAPES = [
    (8, 8), (1, 1), (1, 17), (3, 5), (16, 7), (37, 53), (64, 130), (512, 1024), (1024, 1024),
    (2048, 2048), (2**15, 2**15), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1),
]  # fmt: skip
WEIGHTS = [20, 5, 5, 5, 5, 2, 1, 1, 1, 1, 1, 1, 1]
DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
BLOCK_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image as a format describes it: `dtype` with its byte order, `algorithm` or None."""

    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    algorithm: str | None
    element_size: int
    blob: bytes


def draw(rng: random.Random, algorithms: tuple[str | None, ...], *, bare: bool) -> Drawn:
    """An image in one of the compressions of a format, `bare` perhaps without the header."""
    (shape,) = rng.choices(SHAPES, WEIGHTS)
    dtype = np.dtype(rng.choice("<<<>") + rng.choice(DTYPES))
    algorithm = rng.choice(algorithms)
    element = dtype.itemsize if rng.random() < 0.9 else rng.choice([0, -1, 1, 2, 3, 4, 8, 16])
    blob = _content(rng, shape, dtype, algorithm)
    if algorithm is not None and bare and rng.random() < 0.5:
        blob = blob[12:] if algorithm == "bslz4" else _block(blob)
    return Drawn(shape, dtype, algorithm, element, blob)


def damaged(blob: bytes, rng: random.Random) -> bytes:
    """The bytes cut, extended, changed, or under another header."""
    match rng.randrange(7):
        case 0:
            return blob[: rng.randrange(len(blob) + 1)]
        case 1:
            return blob + rng.randbytes(rng.choice([1, 2, 8, 12, 100]))
        case 2:
            return rng.randbytes(len(blob))
        case 3:
            size = rng.choice([0, 1, len(blob), 128, 2**31, 2**32, 2**40, 2**63, 2**64 - 1])
            block = rng.choice([0, 1, 4, 8, 12, 16, 24, 4096, 8192, 2**31, 2**32 - 16, 2**32 - 1])
            if rng.random() < 0.5 and len(blob) >= 8:
                (size,) = struct.unpack_from(">Q", blob)
            return struct.pack(">QI", size, block) + blob[12:]
        case 4:
            length = rng.choice([0, 1, 7, len(blob), 2**31 - 1, 2**31, 2**32 - 1])
            place = rng.choice([0, 12])
            return blob[:place] + struct.pack(">I", length) + blob[place + 4 :]
        case 5:
            found = bytearray(blob or b"\0")
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
            return bytes(found)
        case _:
            return b""


def _content(
    rng: random.Random, shape: tuple[int, int], dtype: np.dtype[np.generic], algorithm: str | None
) -> bytes:
    size = shape[0] * shape[1] * dtype.itemsize
    if size > BOMB_BYTES:  # a lie: the bytes are few
        return struct.pack(">QI", min(size, 2**64 - 1), BLOCK_BYTES) + rng.randbytes(64)
    if size > SMALL_BYTES:
        return _zeros(size, dtype.itemsize, algorithm)
    return _packed(rng.randbytes(8) * (size // 8 + 1), size, dtype.itemsize, algorithm)


@functools.cache
def _zeros(size: int, itemsize: int, algorithm: str | None) -> bytes:
    """A bomb with a correct header: few bytes for very many."""
    return bytes(64) if algorithm is None else _packed(bytes(size), size, itemsize, algorithm)


def _packed(raw: bytes, size: int, itemsize: int, algorithm: str | None) -> bytes:
    raw = raw[:size]
    if algorithm is None:
        return raw
    header = struct.pack(">QI", size, BLOCK_BYTES)
    if algorithm == "bslz4":
        words = np.frombuffer(raw, f"u{itemsize}")
        shuffled: bytes = bitshuffle.compress_lz4(words, BLOCK_BYTES // itemsize).tobytes()
        return header + shuffled
    blocks = [raw[start : start + BLOCK_BYTES] for start in range(0, size, BLOCK_BYTES)]
    packed = [lz4.block.compress(block, store_size=False) for block in blocks]
    shorter = [one if len(one) < len(raw) else raw for one, raw in zip(packed, blocks, strict=True)]
    return header + b"".join(struct.pack(">I", len(one)) + one for one in shorter)


def _block(framed: bytes) -> bytes:
    """The first LZ4 block without header and length."""
    return framed[16:]
