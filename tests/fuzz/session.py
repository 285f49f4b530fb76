"""Sessions: what one decoder is sent. Seed and number decide it, so that any can be replayed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.fuzz import images, raw, trees
from tests.fuzz.raw import Message
from tests.fuzz.target import Target, Variant

STEPS = 20
"""Hostile inputs of a session."""
TRIES = 8


@dataclass(frozen=True, slots=True)
class Step:
    """A hostile input; `kind` is raw, structured, or order: a good message at a wrong time."""

    kind: str
    message: Message


@dataclass(frozen=True, slots=True)
class Session:
    """Options and the inputs. After each, a good series must decode."""

    variant: Variant
    steps: tuple[Step, ...]


def session(target: Target, pool: tuple[Message, ...], seed: int, index: int) -> Session:
    """Session `index` of a seed. `pool` are the messages that mutations begin with."""
    rng = random.Random(f"{seed} {target.name} {index}")
    variant = rng.choice(target.variants)
    return Session(variant, tuple(_steps(target, pool, rng)))


def _steps(target: Target, pool: tuple[Message, ...], rng: random.Random) -> Iterator[Step]:
    place = 0
    for _ in range(STEPS):
        # Often the message that follows the last one, so that states of a series are met.
        place = place + 1 if rng.random() < 0.5 else rng.randrange(len(pool))
        message, other = pool[place % len(pool)], rng.choice(pool)
        draw = rng.random()
        if draw < 0.05:
            yield Step("order", message)
        elif draw < 0.35:
            yield Step("raw", raw.changed(message, other, rng))
        else:
            yield _structured_step(target, message, other, rng)


def _structured_step(target: Target, message: Message, other: Message, rng: random.Random) -> Step:
    for _ in range(TRIES):
        try:
            return Step("structured", _structured(target, message, other, rng))
        except Exception:  # noqa: BLE001 the layer cannot write that: 2**64 in msgpack
            continue
    return Step("order", message)


def _structured(target: Target, message: Message, other: Message, rng: random.Random) -> Message:
    """Fields or images replaced by others; every part that was readable still is."""
    parts = [_tree(target, part) for part in message]
    if isinstance(parts[0], dict) and rng.random() < 0.35:
        image = images.draw(rng, target.algorithms, bare=target.bare)
        target.place(parts, image, rng)
        if rng.random() < 0.4:
            return _written(target, parts, rng)
    for _ in range(rng.choice([1, 1, 2])):
        place = rng.randrange(len(parts)) if rng.random() < 0.5 else 0
        if isinstance(parts[place], bytes):
            parts[place] = images.damaged(parts[place], rng)
            _restate(parts, place, rng)
        else:
            parts[place] = trees.changed(parts[place], rng, target.kinds)
    written = _written(target, parts, rng)
    if len(written) > 1 and rng.random() < 0.05:
        return [written[0], *raw.rearranged(written[1:], other[1:], rng)]
    return written


def _restate(parts: list[Any], place: int, rng: random.Random) -> None:
    """Where fields state the size of a blob, they often state the new one."""
    for fields in parts:
        for key in ("dsize", "size"):
            if isinstance(fields, dict) and key in fields and rng.random() < 0.7:
                fields[key] = len(parts[place])


def _tree(target: Target, part: bytes) -> Any:
    """The fields of a part; the bytes themselves where it has none."""
    try:
        tree = target.layer.load(part)
    except Exception:  # noqa: BLE001 whatever the packages raise, it is a blob
        return part
    return tree if isinstance(tree, dict) else part


def _written(target: Target, parts: list[Any], rng: random.Random) -> Message:
    depth = rng.choice([1, 3, 62, 63, 64, 65, 500, 900, *range(940, 1025)])
    return [part if isinstance(part, bytes) else target.layer.write(part, depth) for part in parts]
