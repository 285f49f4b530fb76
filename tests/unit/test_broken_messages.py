"""Broken messages: the decoder of every format refuses each, and reads on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cade.frames import Frame, SeriesStart
from cade.wire import FORMATS, Decoder, Encoder, WireError, decoder, encoder
from cade.wire.compression import Compression
from simulator.broken_messages import HOSTILE, corrupted, other_shape, truncated
from simulator.emulator_log import UNKNOWN_ID
from simulator.stream_traits import STREAM_TRAITS, Damage

NUMBER = 7
COMPRESSED = [
    *(("dectris-v2", "bslz4"), ("dectris-v2", "lz4")),
    *(("dectris-v1", "bslz4"), ("dectris-v1", "lz4")),
    *(("odin", "bslz4"), ("odin", "lz4"), ("stins", "bslz4")),
]


def started(name: str, compression: Compression | None) -> tuple[Encoder, Decoder]:
    writer, reader = encoder(name, compression=compression), decoder(name)
    start = writer.encode(SeriesStart("a", 1e9, 10, (8, 8), "uint16"))
    if start:
        reader.decode(start)
    return writer, reader


def known_id(name: str, way: Damage) -> int:
    return NUMBER if way in STREAM_TRAITS[name].id_survives else UNKNOWN_ID


@pytest.mark.parametrize(
    ("name", "compression"), [*((name, None) for name in FORMATS), *COMPRESSED]
)
@pytest.mark.parametrize("shape", [(2, 3), (8, 8), (150, 161)])
def test_damage_is_refused_and_the_image_known_where_it_is_said_to_be(
    name: str, compression: Compression | None, shape: tuple[int, int]
) -> None:
    writer, reader = started(name, compression)
    image = np.random.default_rng(1).integers(0, 900, shape).astype("u2")
    good = writer.encode(Frame("a", NUMBER, image, 1e9))
    draw = np.random.default_rng(2)
    ways = Counter[Damage]()
    for _ in range(60):
        way, parts = corrupted(good, image, draw)
        ways[way] += 1
        with pytest.raises(WireError) as refused:
            reader.decode(parts)
        assert refused.value.image_id == known_id(name, way)
    with pytest.raises(WireError) as refused:
        reader.decode(truncated(good))
    assert refused.value.image_id == known_id(name, "truncate")
    framed = compression is not None and (name, compression) != ("dectris-v1", "lz4")
    expected = {"header", "hostile"}
    expected |= {"part"} if len(good) > 1 else set()
    expected |= {"payload"} if framed and image.nbytes >= 64 else set()
    assert set(ways) == expected
    assert reader.decode(good), "the next good one is read"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_parts_are_refused(name: str, hostile: bytes) -> None:
    writer, reader = started(name, None)
    good = writer.encode(Frame("a", NUMBER, np.ones((8, 8), "u2"), 1e9))
    with pytest.raises(WireError):
        reader.decode((hostile, *good[1:]))


@pytest.mark.parametrize("shape", [(1, 5), (8, 8)])
def test_other_shape(shape: tuple[int, int]) -> None:
    assert other_shape(np.ones(shape)).shape not in (shape, (0, 5))
