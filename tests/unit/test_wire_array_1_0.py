"""PSI array-1.0: headers as the senders write them, round trips, malformed and mutated messages."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cade.errors import UsageError
from cade.frames import Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import FORMATS, Buffer, Decoder, WireError, decoder, encoder
from cade.wire.array_1_0 import EPICS_EPOCH_S

PIXELS = np.array([[1, 2, 3], [4, 5, 6]])
RAW = PIXELS.astype("<u2").tobytes()
HEADER: dict[str, Any] = {
    "htype": "array-1.0",
    "shape": [2, 3],
    "type": "uint16",
    "endianness": "little",
    "frame": 434,
    "source": "pco",
    "encoding": "",
}
NOW_S = 1_793_613_600.0


def decode(reader: Decoder | None = None, **change: object) -> Any:
    header = json.dumps(HEADER | change).encode()
    return (reader or decoder("array-1.0", clock=lambda: NOW_S)).decode([header, RAW])


def frame_of(**change: object) -> Frame:
    _, frame = decode(None, **change)
    assert isinstance(frame, Frame)
    return frame


def test_first_image_begins_a_series() -> None:
    start, frame = decode(
        decoder("array-1.0", origin="tcp://a:1", clock=lambda: NOW_S), role="flat"
    )
    assert start == SeriesStart("pco-1", NOW_S, shape=(2, 3), dtype="uint16", role=Role.FLAT)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert not frame.data.flags.writeable
    assert (frame.series_id, frame.image_id, frame.timestamp_s) == ("pco-1", 0, NOW_S)
    assert (frame.role, frame.origin) == (Role.FLAT, "tcp://a:1")


@pytest.mark.parametrize(
    "header",
    [
        # the minimal one and PCO's of the specification, and areaDetector's ADZMQ 1.4 and 1.1
        '{"htype":"array-1.0", "shape":[2,3], "type":"uint16", "frame":0}',
        '{"htype":"array-1.0", "tags":[], "source":"", "shape":[2,3], "frame":434, '
        '"type":"uint16", "endianess":"little"}',
        '{"htype":"array-1.0", "type":"uint16", "shape":[2,3], "frame":12, "timeStamp":1.5, '
        '"encoding":"", "ndattr":{"ColorMode":0}}',
        '{"htype":["array-1.0"], "type":"uint16", "shape":[3,2], "frame":12, "timeStamp":1.5, '
        '"encoding":"", "ndattr":{}}',
    ],
)
def test_headers_as_they_are_sent(header: str) -> None:
    start, frame = decoder("array-1.0").decode([header.encode(), RAW])
    assert isinstance(start, SeriesStart)
    assert isinstance(frame, Frame)
    assert start.series_id == frame.series_id == "array-1.0-1"
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert frame.role is None


def test_series_begin_with_another_source_or_a_counter_that_goes_back() -> None:
    reader = decoder("array-1.0")
    steps = [("a", 5), ("a", 6), ("a", 9), ("a", 9), ("a", 2), ("a", 3), ("b", 4), ("b", 4)]
    found = [decode(reader, source=source, frame=frame) for source, frame in steps]
    assert [len(events) for events in found] == [2, 1, 1, 1, 2, 1, 2, 1]
    assert [events[0].series_id for events in found] == ["a-1"] * 4 + ["a-2"] * 2 + ["b-3"] * 2
    assert [events[-1].image_id for events in found] == [0, 1, 4, 4, 0, 1, 0, 0]


def test_forget_begins_a_series() -> None:
    reader = decoder("array-1.0")
    decode(reader)
    reader.forget()
    start, frame = decode(reader, frame=435)
    assert (start.series_id, frame.image_id) == ("pco-2", 0)


@pytest.mark.parametrize("name", ["uint8", "int16", "uint32", "int64", "float16", "float64"])
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("key", ["endianness", "endianess"])
def test_types_and_byte_orders(name: str, order: str, key: str) -> None:
    blob = PIXELS.astype(np.dtype(name).newbyteorder("<" if order == "little" else ">")).tobytes()
    header = {k: v for k, v in HEADER.items() if k != "endianness"} | {"type": name, key: order}
    _, frame = decoder("array-1.0").decode([json.dumps(header).encode(), blob])
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert frame.data.dtype == np.dtype(name)
    assert frame.data.dtype.isnative


def test_image_is_a_view_of_the_blob() -> None:
    blob = bytearray(RAW)
    _, frame = decoder("array-1.0").decode([json.dumps(HEADER).encode(), blob])
    assert isinstance(frame, Frame)
    blob[0] = 99
    assert frame.data[0, 0] == 99


def test_leading_dimensions_of_one() -> None:
    assert frame_of(shape=[1, 1, 2, 3]).data.shape == (2, 3)


@pytest.mark.parametrize(
    ("change", "role"),
    [
        ({"role": "reference"}, Role.REFERENCE),
        ({"role": "Dark"}, Role.DARK),
        ({"ndattr": {"role": "flat"}}, Role.FLAT),
        ({"role": "dark", "ndattr": {"role": "flat"}}, Role.DARK),
        ({"role": None, "ndattr": {}}, None),
        ({"ndattr": [1]}, None),
        ({}, None),
    ],
)
def test_role(change: dict[str, object], role: Role | None) -> None:
    assert frame_of(**change).role == role


def test_role_key() -> None:
    start, _ = decode(decoder("array-1.0", role_key="kind"), kind="dark", role="flat")
    assert start.role == Role.DARK


def test_timestamp_of_either_epoch() -> None:
    assert frame_of(timeStamp=NOW_S - 100).timestamp_s == NOW_S - 100
    assert frame_of(timeStamp=NOW_S - 100 - EPICS_EPOCH_S).timestamp_s == NOW_S - 100


@given(
    image=hnp.arrays(
        st.sampled_from(["u1", "u2", "u4", "u8", "i1", "<i4", ">u2", ">f4", "f2", "f4", "f8"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements={"allow_nan": False},
    ),
    first=st.integers(0, 2**40),
    role=st.sampled_from([*Role, None]),
)
def test_round_trip(image: Image, first: int, role: Role | None) -> None:
    writer = encoder("array-1.0")
    reader = decoder("array-1.0", origin="here")
    assert writer.encode(SeriesStart("s", NOW_S, role=role)) == ()
    assert writer.encode(SeriesEnd("s")) == ()
    reader.decode(writer.encode(Frame("s", first, image, NOW_S)))
    (frame,) = reader.decode(writer.encode(Frame("s", first + 3, image, NOW_S + 1.5)))
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, image)
    assert frame.data.dtype == image.dtype.newbyteorder("=")
    assert (frame.series_id, frame.image_id, frame.role) == ("s-1", 3, role)
    assert (frame.timestamp_s, frame.origin) == (NOW_S + 1.5, "here")


def test_encoded_series_of_one_image_are_told_apart() -> None:
    writer, reader = encoder("array-1.0"), decoder("array-1.0")
    for series_id in ("a", "b"):
        writer.encode(SeriesStart(series_id, NOW_S))
        assert len(reader.decode(writer.encode(Frame(series_id, 0, PIXELS, NOW_S)))) == 2


BAD_HEADER: list[tuple[dict[str, object], str]] = [
    ({"htype": "chunk-1.0"}, "htype must be array-1.0, not 'chunk-1.0'"),
    ({"htype": ["chunk-1.0"]}, "htype must be array-1.0"),
    ({"htype": None}, "htype must be array-1.0"),
    ({"frame": -1}, "frame must be a whole number from 0, not -1"),
    ({"frame": 1.5}, "frame must be a whole number"),
    ({"frame": "434"}, "frame must be a whole number"),
    ({"frame": 10**400}, "frame must be a whole number"),
    ({"shape": None}, "shape must be a list"),
    ({"shape": "23"}, "shape must be a list"),
    ({"shape": []}, "shape must be that of one image"),
    ({"shape": [6]}, "shape must be that of one image"),
    ({"shape": [2, 3, 3]}, "shape must be that of one image"),
    ({"shape": [-2, -3]}, "shape must hold positive"),
    ({"shape": [0, 3]}, "shape must hold positive"),
    ({"shape": [2.0, 3]}, "shape must hold positive"),
    ({"shape": ["2", "3"]}, "shape must hold positive"),
    ({"shape": [10**30, 3]}, "shape must hold positive"),
    ({"shape": [10**9, 10**9]}, "more than the 1073741824 allowed"),
    ({"shape": [3, 3]}, "has 12 bytes, not 18"),
    ({"type": "uint32"}, "has 12 bytes, not 24"),
    ({"type": "string"}, "type 'string' is not known"),
    ({"type": "O"}, "type 'O' is not known"),
    ({"type": None}, "type must be a printable text"),
    ({"endianness": "middle"}, "endianness must be little or big, not 'middle'"),
    ({"endianness": []}, "endianness must be little or big"),
    ({"source": 5}, "source must be a printable text"),
    ({"source": "a\n"}, "source must be a printable text"),
    ({"source": "a" * 201}, "source must be a printable text"),
    ({"encoding": "bslz4"}, "encoding 'bslz4' is not supported: switch"),
    ({"encoding": []}, "is not supported"),
    ({"timeStamp": "now"}, "timeStamp must be a number"),
    ({"timeStamp": 10**400}, "timeStamp must be a finite number"),
    ({"timeStamp": float("nan")}, "timeStamp must be a finite number"),
    ({"role": "banana"}, "role is 'banana', not one of sample, reference, flat, dark"),
    ({"role": {}}, "role is {}, not one of"),
    ({"ndattr": {"role": 3}}, r"ndattr\['role'\] is 3, not one of"),
]


@pytest.mark.parametrize(("change", "complaint"), BAD_HEADER)
def test_malformed_header(change: dict[str, object], complaint: str) -> None:
    """It changes nothing: the next image still begins no new series."""
    reader = decoder("array-1.0")
    decode(reader)
    with pytest.raises(WireError, match=complaint):
        decode(reader, **({"frame": 1, "source": "other"} | change))
    assert len(decode(reader, frame=435)) == 1


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([], "has 0 parts, not 2"),
        ([json.dumps(HEADER).encode()], "has 1 parts, not 2"),
        ([json.dumps(HEADER).encode(), RAW, b""], "has 3 parts, not 2"),
        ([b"", RAW], "no JSON"),
        ([b"\xff\xfe", RAW], "no JSON"),
        ([b"[" * 100_000, RAW], "no JSON"),
        ([b'{"frame": ' + b"9" * 5000 + b"}", RAW], "no JSON"),
        ([b"[]", RAW], "must be a JSON object"),
        ([b" " * (1 << 20) + b"{}", RAW], "the header has 1048578 bytes, more than 1048576"),
        ([json.dumps(HEADER).encode(), RAW[:-1]], "has 11 bytes, not 12"),
        ([json.dumps(HEADER).encode(), b""], "has 0 bytes, not 12"),
        ([RAW, json.dumps(HEADER).encode()], "no JSON"),
    ],
)
def test_no_message(parts: list[bytes], complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        decoder("array-1.0").decode(parts)


def test_size_limit() -> None:
    parts = [json.dumps(HEADER).encode(), RAW]
    size = sum(len(part) for part in parts)
    assert decoder("array-1.0", max_bytes=size).decode(parts)
    with pytest.raises(WireError, match=f"has {size} bytes, more than the {size - 1} allowed"):
        decoder("array-1.0", max_bytes=size - 1).decode(parts)


def test_mutated_messages_only_raise_wire_errors() -> None:
    rng = random.Random(6)
    reader = decoder("array-1.0", max_bytes=1 << 20)
    odd: list[Any] = [
        None,
        True,
        -1,
        2**64,
        1e308,
        float("nan"),
        "",
        "a",
        [],
        {},
        [[]],
        [2**31, 2],
        "\ud800",
    ]
    refused = 0
    for _ in range(3000):
        header = dict(HEADER)
        if rng.random() < 0.5:
            header[rng.choice([*header, "role", "ndattr", "timeStamp"])] = rng.choice(odd)
        data = bytearray(json.dumps(header).encode())
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        blob = RAW[: rng.choice([12, 12, 12, 11, 0])]
        refused += is_refused(reader, [bytes(data), blob])
    assert refused > 500
    assert reader.decode([json.dumps(HEADER).encode(), RAW])


def is_refused(reader: Decoder, parts: list[Buffer]) -> bool:
    try:
        reader.decode(parts)
    except WireError as error:
        complaint = str(error)
    else:
        return False
    assert len(complaint) < 300
    assert complaint.isprintable()
    return True


def test_formats_by_name() -> None:
    for name in FORMATS:
        assert decoder(name)
        assert encoder(name)
    for look_up in (decoder, encoder):
        with pytest.raises(UsageError, match="'odd' is not known; known are dectris-v2, dec"):
            look_up("odd")
    with pytest.raises(UsageError, match=r"array-1\.0 carries no lz4"):
        encoder("array-1.0", compression="lz4")
