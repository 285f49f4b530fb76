"""Raw mutations: bytes and parts changed without a look at what they mean."""

from __future__ import annotations

import random

Message = list[bytes]

LENGTHS = [0, 1, 23, 24, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def changed(message: Message, other: Message, rng: random.Random) -> Message:
    """One to four changes; `other` is a message of the same stream to splice with."""
    parts = list(message)
    for _ in range(rng.choice([1, 1, 2, 3, 4])):
        if not parts or rng.random() < 0.15:
            parts = rearranged(parts, other, rng)
            continue
        place = rng.randrange(len(parts))
        parts[place] = _overwritten(parts[place], rng.choice(other) if other else b"", rng)
    return parts


def rearranged(message: Message, other: Message, rng: random.Random) -> Message:
    """Parts dropped, repeated, swapped, added, or taken from the other message."""
    parts = list(message)
    place = rng.randrange(len(parts) + 1)
    match rng.randrange(7):
        case 0:
            del parts[place : place + 1]
        case 1:
            parts[place:place] = parts[place : place + 1]
        case 2:
            rng.shuffle(parts)
        case 3:
            parts[place:place] = [rng.choice([b"", b"\0", b"{}", b"\x80", b"\xa0"])]
        case 4:
            parts[place : place + 1] = other[:1]
        case 5:
            parts = parts[:place] + other[place:]
        case _:
            parts = parts * rng.choice([2, 3, 8])
    return parts


def _overwritten(part: bytes, other: bytes, rng: random.Random) -> bytes:
    data = bytearray(part or b"\0")
    start = rng.randrange(len(data))
    match rng.randrange(9):
        case 0 | 1:
            data[start] ^= 1 << rng.randrange(8)
        case 2:
            data[start : start + 4] = rng.randbytes(rng.randrange(1, 6))
        case 3:
            return bytes(data[:start])
        case 4:
            data += rng.randbytes(rng.randrange(1, 40))
        case 5:
            data[start:start] = data[start : start + rng.randrange(1, 60)]
        case 6:
            del data[start : start + rng.randrange(1, 20)]
        case 7:  # a length, behind an initial byte of CBOR or msgpack or without
            head = rng.choice([b"", b"\x1b", b"\x5b", b"\x7b", b"\x9b", b"\xbb", b"\xdb", b"\xc6"])
            size = rng.choice([2, 4, 8])
            if rng.random() < 0.5:  # or one of indefinite length, or of none at all
                head, size = rng.choice(b"\x1c\x1f\x5f\x7f\x9f\xbf\xdf\xf8\xff").to_bytes(), 0
            length = (rng.choice(LENGTHS) % 256**size).to_bytes(size, "big")
            data[start : start + 1 + size] = head + length
        case _:
            return bytes(data[:start]) + other[rng.randrange(len(other) + 1) :]
    return bytes(data)
