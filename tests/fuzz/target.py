"""What the fuzzer knows of a format: how its messages are read, changed, and what good ones say."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cade.frames import Image, Role
from cade.wire import Decoder
from tests.fuzz.images import Drawn
from tests.fuzz.layers import Layer
from tests.fuzz.raw import Message

MAX_BYTES = 1 << 20
"""Largest message and image that most of the decoders here allow."""
LARGE_BYTES = 1 << 22
"""What the others allow."""


@dataclass(frozen=True, slots=True)
class GoodSeries:
    """Messages of one series and the images, and role of each, that must come of them.

    `forget`: where only the decoder's `forget` makes the first message begin a series.
    """

    messages: tuple[Message, ...]
    images: tuple[Image, ...]
    role: Role | None
    forget: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """Options of a decoder, and series that it must decode."""

    options: Mapping[str, Any]
    good: tuple[GoodSeries, ...]


OUTER = (
    "CBOR:|the message (has|must)|the header (is|must|has)|a header (is|must|has)|a message of|"
    "these bytes carry"
)
"""Complaints of a message whose outer parse failed, or that was refused before it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A format under test.

    Args:
        name: of the format, and of its folder in the corpus.
        make: a fresh decoder with these options.
        layer: how parts with fields are read and written.
        kinds: what values the layer can write: "text", "bytes" or "tags".
        variants: options, with good series for each.
        seeds: messages that mutations begin with; more are in the corpus.
        algorithms: compressions of images; None is none.
        bare: whether compressed images may come without their header.
        place: puts a drawn image into the parts of a message, fields as trees, if it has one.
        outer: pattern of the complaints that an input has not passed the outer parse.
    """

    name: str
    make: Callable[[Mapping[str, Any]], Decoder]
    layer: Layer
    kinds: str
    variants: tuple[Variant, ...]
    seeds: tuple[Message, ...]
    algorithms: tuple[str | None, ...]
    bare: bool
    place: Callable[[list[Any], Drawn, random.Random], None] = field(repr=False)
    outer: str = OUTER
