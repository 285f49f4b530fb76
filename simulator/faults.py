"""Broken messages that a detector, a network or an attacker may send."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cade.frames import Image
from cade.wire import Buffer

FaultKind = Literal["truncate", "corrupt", "wrong_shape"]

# None of these is a message of any format: wrong at the first byte, endless, absurd or bottomless.
_HOSTILE = (
    b"\xff" + np.random.default_rng(20).bytes(4096),
    b"",
    b"\x5b" + b"\xff" * 8 + b"a byte string of 2**64 - 1 bytes",
    b"\x81" * 100_000,
    b'{"htype":"array-1.0","type":"uint16","shape":[1000000000,1000000000],"frame":0}',
    b"[" * 100_000,
)


@dataclass(frozen=True, slots=True)
class Faults:
    """How many broken messages of each kind are sent beside the good ones.

    `truncate`: half of a message. `corrupt`: hostile bytes. `wrong_shape`: an image of another
    shape, which takes an image id of its own. `stray`: an image after the end of its series.
    """

    truncate: int = 0
    corrupt: int = 0
    wrong_shape: int = 0
    stray: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.truncate + self.corrupt + self.wrong_shape + self.stray


def schedule(faults: Faults, image_count: int) -> Mapping[int, tuple[FaultKind, ...]]:
    """After how many good images which faults are sent: spread evenly, kinds in turn.

    The first good image always comes first, so that nothing broken begins a series of a format
    without start messages.
    """
    counts: tuple[tuple[FaultKind, int], ...] = (
        ("truncate", faults.truncate),
        ("corrupt", faults.corrupt),
        ("wrong_shape", faults.wrong_shape),
    )
    turns = itertools.zip_longest(*([kind] * count for kind, count in counts))
    kinds = [kind for turn in turns for kind in turn if kind is not None]
    plan: dict[int, tuple[FaultKind, ...]] = {}
    for index, kind in enumerate(kinds):
        after = max(1, (index + 1) * image_count // (len(kinds) + 1))
        plan[after] = (*plan.get(after, ()), kind)
    return plan


def truncated(parts: Sequence[Buffer]) -> tuple[Buffer, ...]:
    """A message whose last part ends half-way."""
    *whole, cut = parts
    return *whole, bytes(cut)[: len(cut) // 2]


def hostile_parts() -> Iterator[bytes]:
    """First parts of hostile messages, for ever."""
    return itertools.cycle(_HOSTILE)


def other_shape(image: Image) -> Image:
    """The image without its last row, or doubled where it has only one."""
    return image[:-1] if len(image) > 1 else np.concatenate([image, image])
