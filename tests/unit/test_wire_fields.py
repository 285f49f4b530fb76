"""What error messages show of hostile values, and limits that several formats share."""

from __future__ import annotations

from typing import Any

import cbor2
import msgpack
import numpy as np
import pytest

from cade.wire import WireError, cbor, decoder, fields
from tests.golden import dectris_v1, dectris_v2, karabo, stins

IMAGE = np.arange(6, dtype="<u2").reshape(2, 3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\n", r"'a\n'"),
        ([1, "b"], "[1, 'b']"),
        (memoryview(bytes(12)), "12 bytes"),
        (np.zeros((2, 2), "u1"), "array([[0, 0],        [0, 0]], dtype=uint8)"),
    ],
)
def test_shown(value: object, text: str) -> None:
    assert fields.shown(value) == text


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    ["x" * 10**7, "\0" * 10**7, [[]] * 10**6, dict.fromkeys(range(10**6)), nested(5000), 10**4000],
)
def test_what_is_shown_is_short_however_long_the_value(value: object) -> None:
    text = fields.shown(value)
    assert len(text) <= fields.MAX_SHOWN
    assert text.isprintable()


@pytest.mark.parametrize("depth", range(900, 1024))
def test_nesting_near_the_recursion_limit(depth: int) -> None:
    """The parser stands it at some depth at which a complaint about it may not."""
    shape = f'"shape":{"[" * depth}{"]" * depth}'
    header = f'{{"htype":"array-1.0","type":"uint16","frame":0,{shape}}}'.encode()
    with pytest.raises(WireError, match=r"shape must|no JSON"):
        decoder("array-1.0").decode([header, bytes(12)])
    role = b"\x81\xa4role" + b"\x91" * depth + b"\xc0"
    train = karabo.train(IMAGE, 1, "CAM:out", "flat")
    with pytest.raises(WireError, match=r"role is|no msgpack"):
        decoder("karabo").decode([train[0], role, *train[2:]])


def test_number_of_announced_images() -> None:
    assert fields.announced(3, 2) == 6
    assert fields.announced(0, 2) is None
    assert fields.announced(2**62) == 2**62
    with pytest.raises(
        WireError, match="number of images must fit 63 bits, not be 9223372036854775808"
    ):
        fields.announced(2**62, 2)


def test_announced_images_of_triggers() -> None:
    start = dectris_v1.series(1, [IMAGE], "flat")[0]
    start[1] = start[1].replace(b'"ntrigger":1', b'"ntrigger":9223372036854775807')
    assert decoder("dectris-v1").decode(start)
    start[1] = start[1].replace(b'"nimages":1', b'"nimages":2')
    with pytest.raises(WireError, match="63 bits"):
        decoder("dectris-v1").decode(start)
    header = stins.series("/a.h5", [IMAGE], "flat")[0]
    with pytest.raises(WireError, match="63 bits"):
        decoder("stins").decode([header[0], b'{"nimages":4611686018427387904,"ntrigger":2}'])


def test_channel_with_a_long_name() -> None:
    reader = decoder("dectris-v2")
    start = dectris_v2.start("a", IMAGE, 1, "flat") | {"channels": ["c" * 10_000]}
    reader.decode([cbor2.dumps(start)])
    with pytest.raises(WireError, match="data has no channel 'ccc") as caught:
        reader.decode(dectris_v2.series("a", [IMAGE], "flat")[1])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("limit", "fits"), [(2 * 2000 * 3000, True), (2 * 2000 * 3000 - 1, False)])
def test_start_of_images_that_are_too_large(limit: int, fits: bool) -> None:
    start = dectris_v2.start("a", IMAGE, 1, "flat") | {"image_size_x": 2000, "image_size_y": 3000}
    reader = decoder("dectris-v2", max_bytes=limit)
    if fits:
        assert reader.decode([cbor2.dumps(start)])
    else:
        with pytest.raises(WireError, match="3000 x 2000 uint16 has 12000000 bytes, more than"):
            reader.decode([cbor2.dumps(start)])


def test_bytes_are_no_list_of_numbers() -> None:
    message = cbor2.loads(dectris_v2.series("a", [IMAGE], "flat")[1][0])
    for stated, fits in ([1, 9], True), (b"\1\x09", False):
        content = message | {"start_time": stated, "data": {"threshold_1": dectris_v2.array(IMAGE)}}
        if fits:
            assert decoder("dectris-v2").decode([cbor2.dumps(content)])
        else:
            with pytest.raises(WireError, match=r"start_time must be .* not 2 bytes"):
                decoder("dectris-v2").decode([cbor2.dumps(content)])
    train = karabo.train(IMAGE, 1, "CAM:out", "flat")
    index = next(n for n, part in enumerate(train[::2]) if b"pixels" in part) * 2
    train[index] = msgpack.packb(msgpack.unpackb(train[index]) | {"shape": b"\2\3"})
    with pytest.raises(WireError, match="shape must be a list"):
        decoder("karabo", channel=f"CAM:out[{karabo.PATH}]").decode(train)


@pytest.mark.parametrize("dtype", ["<f1", "|f1", ">f3"])
def test_numbers_that_numpy_has_not(dtype: str) -> None:
    train = karabo.train(IMAGE, 1, "CAM:out", "flat")
    index = next(n for n, part in enumerate(train[::2]) if b"pixels" in part) * 2
    train[index] = msgpack.packb(msgpack.unpackb(train[index]) | {"dtype": dtype})
    with pytest.raises(WireError, match=f"dtype '{dtype.replace('|', '.')}' is not known"):
        decoder("karabo").decode(train)


def test_texts_of_a_message_are_limited() -> None:
    half = "x" * (cbor.MAX_TEXT_BYTES // 2)
    assert cbor.loads(memoryview(cbor2.dumps([half, half])))
    with pytest.raises(WireError, match="more than 16777216 bytes of text"):
        cbor.loads(memoryview(cbor2.dumps([half, half, "y"])))
