"""Damaged messages for the tests of decoders: only a `WireError` may come of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from cade.wire import Buffer, Decoder, WireError

ODD: list[Any] = [
    None, True, -1, 0, 2**31, 2**64, 1e308, float("nan"), "", "a", "a\n", "9" * 300, [], {}, [[]],
    [2**31, 2], [0, 3], ["2", "3"], {"role": 3}, "\ud800", "bs16-lz4<", ">", "bslz4", "LZ4",
]  # fmt: skip
"""Values that a field may have instead of its own."""

Message = list[bytes]


def is_refused(reader: Decoder, parts: Sequence[Buffer]) -> bool:
    """Whether a message is refused; its complaint must then fit a line of a log."""
    try:
        reader.decode(parts)
    except WireError as error:
        complaint = str(error)
    else:
        return False
    assert len(complaint) < 300, complaint
    assert complaint.isprintable()
    return True


def mutated(
    message: Message,
    rng: random.Random,
    load: Callable[[bytes], Any] = json.loads,
    dump: Callable[[Any], bytes] = lambda value: json.dumps(value).encode(),
) -> Message:
    """The message with a field replaced, bytes overwritten, or a part lost, cut or repeated.

    Half of them pass the outer parse. `load` and `dump` read and write the parts that have fields.
    """
    parts = list(message)
    place = rng.randrange(len(parts))
    for _ in range(rng.randrange(1, 3)):
        match rng.randrange(8):
            case 0 | 1 | 2 | 3:
                parts[place] = _with_odd_field(parts[place], rng, load, dump)
            case 4 | 5:
                parts[place] = _overwritten(parts[place], rng)
            case 6:
                parts[place] = parts[place][: rng.randrange(len(parts[place]) + 1)]
            case _:
                other = rng.randrange(len(parts))
                parts[other : other + rng.randrange(2)] = [parts[place]] * rng.randrange(3)
        place = min(place, len(parts) - 1)
        if not parts:
            break
    return parts


def _with_odd_field(
    part: bytes,
    rng: random.Random,
    load: Callable[[bytes], Any],
    dump: Callable[[Any], bytes],
) -> bytes:
    try:
        fields = load(part)
        key = rng.choice(list(fields))
        return dump({**fields, key: rng.choice(ODD)})
    except Exception:  # noqa: BLE001 a blob, or fields that are damaged already
        return _overwritten(part, rng)


def _overwritten(part: bytes, rng: random.Random) -> bytes:
    data = bytearray(part or b"\0")
    for _ in range(rng.randrange(1, 5)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)
