"""What a field may hold instead of its own value."""

from __future__ import annotations

import random
from typing import Any

from tests.fuzz.layers import DEEP, Tagged

NUMBERS: list[Any] = [
    -1, 0, 1, 2, 3, 7, 8, 255, 256, 8191, 8192, 2**16, 2**31 - 1, 2**31, 2**32, 2**53 + 1,
    2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63), 0.0, -0.0, 0.5, -1.5, 1e-320, 1e18,
    1e19, 1e308, -1e308, 10**400, float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
TEXTS: list[Any] = [
    "", " ", "a", "a\n", "\0", "../../etc/passwd", "/", "%s{0}", "\u202e", "٣", "²", "\ud7ff",
    "é" * 150, "𝟛" * 99, "9" * 19, "9" * 20, "-1", "1e3", "0x10", "NaN", "null", DEEP, "x" * 201,
    "y" * 5000,
]  # fmt: skip
WORDS: list[Any] = [
    # roles, types, byte orders, encodings and names of messages, of all formats
    "sample", "reference", "Flat", " dark ", "banana", "uint8", "uint16", "uint32", "uint64",
    "int8", "float16", "float32", "float64", "float128", "complex64", "bool", "object", "O",
    "float", "<u2", ">u2", "|u1", "=f8", "<f1", "|f1", "<i1", ">f2", "V2", "u2,u2", "little",
    "big", "<",
    ">", "lz4<", "lz4>", "bs8-lz4<", "bs16-lz4<", "bs16-lz4>", "bs32-lz4<", "bs64-lz4<",
    "bs128-lz4<", "bs12-lz4<", "none", "raw", "LZ4", "BSLZ4", "lz4", "bslz4", "blosc", "zstd",
    "array-1.0",
    ["array-1.0"], ["array-1.0", "array-1.0"], "chunk-1.0", "start", "image", "end", "header",
    "series_end", "dheader-1.0", "dimage-1.0", "dimage_d-1.0", "dconfig-1.0", "dseries_end-1.0",
    "all", "basic", "array", "msgpack", "pickle", "ndarray", "threshold_1", "data", "1",
    "2026-11-02T10:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30",
    '{"role": "dark"}', '{"role": 3}', "[[[[", '"flat"', "{" * 2000, "9" * 4400,
]  # fmt: skip
STRUCTURES: list[Any] = [
    None, True, False, [], {}, [[]], [None], {"role": "dark"}, {"role": 3}, {"": ""},
    {"a": {"b": []}}, [0], [1], [1, 1], [2, 3], [8, 8], [3, 2], [0, 8], [-8, 8], [8.0, 8.0], ["8",
    "8"],
    [True, True], [8], [8, 8, 1], [1, 8, 8], [1, 1, 8, 8], [2, 8, 8], [2**31 - 1, 2**31 - 1],
    [2**15, 2**15],
    [2**63, 2**63], [1] * 70, [5, 0], [5, 2**63], [2**64 - 1, 1], ["9" * 19, "1"], [None, 8],
]  # fmt: skip
BINARY: list[Any] = [
    b"", b"\0", b"8,", bytes(12), bytes(128), b"\xff" * 40, b"sample", Tagged(0, "yesterday"),
    Tagged(0, "2026-11-02T10:00:00Z"), Tagged(1, 5), Tagged(2, b"\xff" * 30), Tagged(40, []),
    Tagged(40, [[8, 8], Tagged(69, bytes(128))]), Tagged(41, [1, 2]), Tagged(55799, {}),
    Tagged(56500, ["bslz4", 2, b""]), Tagged(56500, ["lz4", 0, bytes(12)]), Tagged(69, bytes(128)),
    Tagged(2**64 - 1, None), {1: 2}, {-1: {}},
]  # fmt: skip
"""Only CBOR has all of these, and msgpack the bytes."""


def value(rng: random.Random, kinds: str) -> Any:
    """One of these; `kinds` is "text", "bytes" or "tags": what the layer can write."""
    if rng.random() < 0.0005:
        return _large(rng)
    pools = [NUMBERS, TEXTS, WORDS, WORDS, STRUCTURES]
    if kinds == "tags":
        pools += [BINARY, BINARY]
    pool = rng.choice(pools)
    if kinds == "bytes" and rng.random() < 0.1:
        return rng.choice(BINARY[:7])
    found = rng.choice(pool)
    return list(found) if isinstance(found, list) else found


def _large(rng: random.Random) -> Any:
    """Much of something."""
    many = rng.choice([1000, 30_000, 150_000])
    return rng.choice(["z" * many * 8, [[]] * many, [0] * many, {str(n): n for n in range(many)}])
