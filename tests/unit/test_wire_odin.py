"""Odin LiveView: headers as odin-data writes them, round trips, malformed and mutated messages."""

from __future__ import annotations

import json
import random
from typing import Any

import bitshuffle
import lz4.block
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cade.frames import Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import Decoder, WireError, decoder, encoder
from cade.wire.compression import Compression
from tests.unit.wire_mutation import is_refused, mutated

NOW_S = 1_793_613_600.0
PIXELS = np.array([[1, 2, 3], [4, 5, 6]])
RAW = PIXELS.astype("<u2").tobytes()
HEADER: dict[str, Any] = {
    "frame_num": 40, "acquisition_id": "run_7", "dtype": "uint16", "dsize": 12, "dataset": "data",
    "compression": "none", "shape": ["2", "3"],
}  # fmt: skip
# The order and spelling in which rapidjson writes what LiveViewPlugin::pass_live_frame adds.
AS_SENT = (
    '{"frame_num":40,"acquisition_id":"run_7","dtype":"uint16","dsize":12,"dataset":"data",'
    '"compression":"none","tags":["live"],"shape":["2","3"]}'
)


def reader(**options: Any) -> Decoder:
    return decoder("odin", clock=lambda: NOW_S, **options)


def decode(found: Decoder | None = None, blob: bytes = RAW, **change: Any) -> Any:
    header = {"dsize": len(blob), **change}
    return (found or reader()).decode([json.dumps(HEADER | header).encode(), blob])


def test_message_as_it_is_sent() -> None:
    start, frame = reader(origin="tcp://a:5020").decode([AS_SENT.encode(), RAW])
    assert start == SeriesStart("run_7-1", NOW_S, shape=(2, 3), dtype="uint16", lossy=True)
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert not frame.data.flags.writeable
    assert (frame.series_id, frame.image_id, frame.timestamp_s) == ("run_7-1", 0, NOW_S)
    assert (frame.role, frame.origin) == (None, "tcp://a:5020")


def test_series_begin_with_another_acquisition_or_a_number_that_goes_back() -> None:
    found = reader()
    steps = [("a", 5), ("a", 10), ("a", 10), ("a", 0), ("", 5), ("", 10)]
    events = [decode(found, acquisition_id=name, frame_num=number) for name, number in steps]
    assert [len(one) for one in events] == [2, 1, 1, 2, 2, 1]
    names = ["a-1", "a-1", "a-1", "a-2", "odin-3", "odin-3"]
    assert [one[-1].series_id for one in events] == names
    assert [one[-1].image_id for one in events] == [0, 5, 5, 0, 0, 5]
    found.forget()
    assert len(decode(found, acquisition_id="", frame_num=15)) == 2


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("uint8", "u1"), ("uint16", "<u2"), ("uint32", "<u4"), ("uint64", "<u8"), ("float", "<f4")],
)
def test_types_of_odin_data(name: str, dtype: str) -> None:
    _, frame = decode(None, PIXELS.astype(dtype).tobytes(), dtype=name)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert frame.data.dtype == np.dtype(dtype).newbyteorder("=")


def test_compressions_that_the_packages_make() -> None:
    """With the header of HDF5 or without it, as odin's detectors hand it on."""
    image = np.random.default_rng(3).poisson(20, (100, 130)).astype("<u2")
    header = image.nbytes.to_bytes(8, "big") + (8192).to_bytes(4, "big")
    bare = bitshuffle.compress_lz4(image).tobytes()
    for name, blob in (
        ("BSLZ4", bare),
        ("BSLZ4", header + bare),
        ("LZ4", lz4.block.compress(image.tobytes(), store_size=False)),
    ):
        _, frame = decode(None, blob, compression=name, shape=["100", "130"])
        np.testing.assert_array_equal(frame.data, image)


def test_only_one_dataset_is_taken() -> None:
    first, named = reader(), reader(channel="b")
    steps = [("a", "run", 5), ("b", "run", 3), ("a", "run", 6), ("b", "next", 0), ("a", "next", 0)]
    for found, lengths in ((first, [2, 0, 1, 2, 0]), (named, [0, 2, 0, 2, 0])):
        events = [
            decode(found, dataset=dataset, acquisition_id=run, frame_num=number)
            for dataset, run, number in steps
        ]
        assert [len(one) for one in events] == lengths
    assert len(decode(reader(), dataset=None)) == 2


def test_role_where_somebody_adds_it() -> None:
    start, frame = decode(reader(role_key="kind"), kind="dark", role="flat")
    assert start.role == frame.role == Role.DARK


@given(
    image=hnp.arrays(
        st.sampled_from(["u1", "u2", "u4", "u8", ">u2", "f4"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements={"allow_nan": False},
    ),
    role=st.sampled_from([*Role, None]),
    compression=st.sampled_from(["bslz4", "lz4", None]),
)
def test_round_trip(image: Image, role: Role | None, compression: Compression | None) -> None:
    writer, found = encoder("odin", compression=compression), reader(origin="here")
    assert writer.encode(SeriesStart("s", NOW_S, role=role)) == ()
    assert writer.encode(SeriesEnd("s")) == ()
    found.decode(writer.encode(Frame("s", 2, image, NOW_S)))
    (frame,) = found.decode(writer.encode(Frame("s", 5, image, NOW_S)))
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, image)
    assert frame.data.dtype == image.dtype.newbyteorder("=")
    assert (frame.series_id, frame.image_id, frame.role) == ("s-1", 3, role)


BAD_HEADER: list[tuple[dict[str, Any], str]] = [
    ({"frame_num": -1}, "frame_num must be a whole number"),
    ({"frame_num": "40"}, "frame_num must be a whole number"),
    ({"acquisition_id": None}, "acquisition_id must be a printable text"),
    ({"acquisition_id": "a\n"}, "acquisition_id must be a printable text"),
    ({"dataset": 3}, "dataset must be a printable text"),
    ({"dtype": "unknown"}, "dtype 'unknown' is not known"),
    ({"dtype": None}, "dtype must be a printable text"),
    ({"dsize": 11}, "has 12 bytes, not 11"),
    ({"dsize": None}, "dsize must be a whole number"),
    ({"compression": "blosc"}, "compression 'blosc' is not known: use none, LZ4 or BSLZ4"),
    ({"compression": "unknown"}, "compression 'unknown' is not known"),
    ({"compression": ["LZ4"]}, "is not known"),
    ({"compression": "LZ4"}, "lz4: "),
    ({"compression": "BSLZ4", "shape": ["4", "4"]}, "bslz4: "),
    ({"shape": ["6"]}, "shape must be that of one image"),
    ({"shape": ["2", "3", "3"]}, "shape must be that of one image"),
    ({"shape": ["two", "3"]}, "shape must hold positive"),
    ({"shape": ["-2", "3"]}, "shape must hold positive"),
    ({"shape": ["0", "3"]}, "shape must hold positive"),
    ({"shape": ["9" * 30, "3"]}, "shape must hold positive"),
    ({"shape": ["1000000000", "1000000000"]}, "more than the 1073741824 allowed"),
    ({"shape": ["3", "3"]}, "has 12 bytes, not 18"),
    ({"shape": None}, "shape must be a list"),
    ({"role": "banana"}, "role is 'banana', not one of"),
]


@pytest.mark.parametrize(("change", "complaint"), BAD_HEADER)
def test_malformed_header(change: dict[str, Any], complaint: str) -> None:
    """It changes nothing: the next image still begins no new series."""
    found = reader()
    decode(found)
    with pytest.raises(WireError, match=complaint):
        decode(found, **{"frame_num": 1, "acquisition_id": "other", **change})
    assert len(decode(found, frame_num=41)) == 1


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([AS_SENT.encode()], "has 1 parts, not 2"),
        ([AS_SENT.encode(), RAW, b""], "has 3 parts, not 2"),
        ([b"", RAW], "no JSON"),
        ([b"[" * 100_000, RAW], "no JSON"),
        ([b"[]", RAW], "must be a JSON object"),
        ([AS_SENT.encode(), RAW[:-1]], "has 11 bytes, not 12"),
    ],
)
def test_no_message(parts: list[bytes], complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        reader().decode(parts)


def test_mutated_messages_only_raise_wire_errors() -> None:
    rng = random.Random(8)
    found = reader(max_bytes=1 << 22)
    image = np.arange(5000, dtype="u2").reshape(50, 100)
    packed = encoder("odin", compression="bslz4").encode(Frame("a", 1, image, 0.0))
    seeds = [[AS_SENT.encode(), RAW], [bytes(part) for part in packed]]
    refused = sum(is_refused(found, mutated(rng.choice(seeds), rng)) for _ in range(3000))
    assert 1000 < refused < 2950
    assert found.decode([AS_SENT.encode(), RAW])
