"""What the stream of a detector can say, by its wire format; what a fault in it leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SocketKind = Literal["push", "pub", "rep"]

Damage = Literal["truncate", "header", "hostile", "part", "payload"]
"""How a message was broken; see `simulator.broken_messages`."""


@dataclass(frozen=True, slots=True)
class StreamTraits:
    """Of one wire format.

    `socket` is what the real detector binds. `announced`: a message starts a series and says how
    many images follow, another one ends it. `lossy`: a live view, in which a gap means nothing.
    `named`: an image says of which series it is. `id_survives`: ways to break a message after which
    it still tells which image it was.
    """

    socket: SocketKind
    announced: bool = False
    lossy: bool = False
    named: bool = False
    id_survives: frozenset[Damage] = frozenset()


STREAM_TRAITS: Mapping[str, StreamTraits] = {
    "dectris-v2": StreamTraits(
        "push", announced=True, named=True, id_survives=frozenset({"payload"})
    ),
    "dectris-v1": StreamTraits(
        "push", announced=True, named=True, id_survives=frozenset({"truncate", "part", "payload"})
    ),
    # Without a start, an image counts from the first of its series; a broken one is none of it.
    "array-1.0": StreamTraits("pub"),
    "odin": StreamTraits("pub", lossy=True),
    "karabo": StreamTraits("rep", lossy=True),
    "stins": StreamTraits(
        "push", announced=True, id_survives=frozenset({"truncate", "part", "payload"})
    ),
    # On pvAccess, see simulator.pva_emulator: no socket, and the number is a field of its own.
    "ntndarray": StreamTraits(
        "pub", id_survives=frozenset({"truncate", "header", "hostile", "part", "payload"})
    ),
}
