"""MAX IV's STINS: messages as tests of its receivers send them, round trips, malformed ones."""

from __future__ import annotations

import json
import random
from typing import Any

import bitshuffle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cade.frames import Beamline, Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import Decoder, WireError, decoder, encoder
from cade.wire.compression import Compression
from tests.unit.wire_mutation import is_refused, mutated

NOW_S = 1_793_613_600.0
PIXELS = np.array([[1, 2, 3], [4, 5, 6]])
RAW = PIXELS.astype("<u2").tobytes()
# As tests/stream1.py of maxiv-science/streaming-receiver and of dranspose sends them.
HEADER: dict[str, Any] = {"htype": "header", "filename": "/data/x/scan_7.h5", "msg_number": 0}
IMAGE: dict[str, Any] = {
    "htype": "image", "frame": 4, "shape": [2, 3], "type": "uint16", "compression": "none",
    "msg_number": 5,
}  # fmt: skip
END: dict[str, Any] = {"htype": "series_end", "msg_number": 6}


def parts(content: object, *rest: object) -> list[bytes]:
    more = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in rest]
    return [json.dumps(content).encode(), *more]


def reader(**options: Any) -> Decoder:
    return decoder("stins", clock=lambda: NOW_S, **options)


def decode(found: Decoder, content: object, *rest: object) -> Any:
    (event,) = found.decode(parts(content, *rest))
    return event


def test_a_series() -> None:
    found = reader(origin="tcp://a:9999")
    assert decode(found, HEADER) == SeriesStart("scan_7-1", NOW_S)
    frame = decode(found, IMAGE, RAW)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert (frame.series_id, frame.image_id, frame.timestamp_s) == ("scan_7-1", 4, NOW_S)
    assert (frame.role, frame.origin) == (None, "tcp://a:9999")
    assert decode(found, END) == SeriesEnd("scan_7-1")
    assert decode(found, HEADER).series_id == "scan_7-2"


def test_metadata() -> None:
    metadata = {"exptime": 0.1, "photon_energy": 12_000, "nimages": 5, "ntrigger": 2}
    start = decode(reader(), HEADER, metadata | {"role": "flat", "rotate": [1]})
    assert start == SeriesStart(
        "scan_7-1", NOW_S, 10, role=Role.FLAT, beamline=Beamline(energy_ev=12e3, exposure_s=0.1)
    )
    assert decode(reader(), HEADER, {"count_time": 0.2}).beamline.exposure_s == 0.2
    assert decode(reader(), HEADER | {"role": "dark"}, {}).role == Role.DARK


@pytest.mark.parametrize("filename", ["", None, "/", "a.h5"])
def test_live_views_have_no_file(filename: str | None) -> None:
    name = decode(reader(), HEADER | {"filename": filename}).series_id
    assert name == ("a-1" if filename == "a.h5" else "stins-1")


def test_images_outside_a_series_have_the_name_of_one_that_is_not_open() -> None:
    found = reader()
    assert decode(found, IMAGE, RAW).series_id == "stins-0"
    decode(found, HEADER)
    decode(found, END)
    assert decode(found, IMAGE, RAW).series_id == "scan_7-1"
    found.forget()
    assert decode(found, IMAGE, RAW).series_id == "scan_7-1"


def test_role_of_an_image_comes_first() -> None:
    found = reader(role_key="kind")
    decode(found, HEADER, {"kind": "reference"})
    assert decode(found, IMAGE, RAW).role == Role.REFERENCE
    assert decode(found, IMAGE | {"kind": "sample"}, RAW).role == Role.SAMPLE


def test_bslz4_with_and_without_header() -> None:
    """Pilatus' images are compressed without it, Eiger's handed on with it."""
    image = np.random.default_rng(3).poisson(20, (100, 130)).astype("<u4")
    bare = bitshuffle.compress_lz4(image).tobytes()
    header = image.nbytes.to_bytes(8, "big") + (8192).to_bytes(4, "big")
    content = IMAGE | {"compression": "bslz4", "shape": [100, 130], "type": "uint32"}
    for blob in (bare, header + bare):
        np.testing.assert_array_equal(decode(reader(), content, blob).data, image)


@pytest.mark.parametrize(("channel", "first"), [(None, 1), ("1", 1), ("2", 10)])
def test_channels(channel: str | None, first: int) -> None:
    """Two thresholds, each in a blob of its own."""
    other = (PIXELS.astype("<u2") * 10).tobytes()
    content = IMAGE | {"shape": [2, 2, 3], "chunks": [1, 2, 3]}
    assert decode(reader(channel=channel), content, RAW, other).data[0, 0] == first


@given(
    image=hnp.arrays(
        st.sampled_from(["u1", "u2", "u4", "i4", ">u2", "f4", "f8"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements={"allow_nan": False},
    ),
    image_id=st.integers(0, 2**63 - 1),
    role=st.sampled_from([*Role, None]),
    compression=st.sampled_from(["bslz4", None]),
    count=st.none() | st.integers(1, 2**40),
)
def test_round_trip(
    image: Image,
    image_id: int,
    role: Role | None,
    compression: Compression | None,
    count: int | None,
) -> None:
    writer, found = encoder("stins", compression=compression), reader(origin="here")
    beamline = Beamline(energy_ev=3e4, exposure_s=0.5)
    start = SeriesStart("a", NOW_S, count, role=role, beamline=beamline)
    sent = writer.encode(start)
    assert json.loads(bytes(sent[0]))["msg_number"] == 0
    assert found.decode(sent) == (SeriesStart("a-1", NOW_S, count, role=role, beamline=beamline),)
    (frame,) = found.decode(writer.encode(Frame("a", image_id, image, NOW_S)))
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, image)
    assert frame.data.dtype == image.dtype.newbyteorder("=")
    assert (frame.series_id, frame.image_id, frame.role) == ("a-1", image_id, role)
    assert found.decode(writer.encode(SeriesEnd("a"))) == (SeriesEnd("a-1"),)


BAD: list[tuple[list[bytes], str]] = [
    ([], "has 0 parts"),
    (parts(IMAGE), "the image has 0 blobs, its shape is of 1"),
    (parts(IMAGE, RAW, RAW), "the image has 2 blobs, its shape is of 1"),
    (parts(IMAGE | {"shape": [3, 2, 3]}, RAW, RAW), "the image has 2 blobs, its shape is of 1"),
    (parts(IMAGE, *[b""] * 20), "has 21 parts"),
    (parts(HEADER, {}, {}), "has 3 parts, not 1 or 2"),
    (parts(HEADER, []), "the metadata must be a JSON object"),
    (parts(HEADER, b"\x80"), "the metadata is no JSON"),
    (parts(END, {}, {}), "has 3 parts, not 1 or 2"),
    (parts(IMAGE | {"htype": "array-1.0"}, RAW), "htype must be header, image or series_end"),
    (parts(IMAGE | {"htype": ["image"]}, RAW), "htype must be header, image or series_end"),
    (parts(IMAGE | {"msg_number": None}, RAW), "msg_number must be a whole number"),
    (parts(HEADER | {"msg_number": -1}), "msg_number must be a whole number"),
    (parts(HEADER | {"filename": 3}), "filename must be a printable path, not 3"),
    (parts(HEADER | {"filename": "a\nb"}), "filename must be a printable path"),
    (parts(HEADER | {"filename": "a" * 5000}), "filename must be a printable path"),
    (parts(HEADER, {"nimages": -1}), "nimages must be a whole number"),
    (parts(HEADER, {"exptime": "0.1 s"}), "exptime must be a number"),
    (parts(HEADER, {"role": "banana"}), "role is 'banana', not one of"),
    (parts(IMAGE | {"frame": -1}, RAW), "frame must be a whole number"),
    (parts(IMAGE | {"shape": [6]}, RAW), "shape must be that of one image"),
    (parts(IMAGE | {"shape": ["2", "3"]}, RAW), "shape must hold positive"),
    (parts(IMAGE | {"shape": [10**9, 10**9]}, RAW), "more than the 1073741824 allowed"),
    (parts(IMAGE | {"shape": [3, 3]}, RAW), "has 12 bytes, not 18"),
    (parts(IMAGE | {"type": "mono12p"}, RAW), "type 'mono12p' is not known"),
    (parts(IMAGE | {"compression": "cbf"}, RAW), "compression 'cbf' is not known: use none or"),
    (parts(IMAGE | {"compression": None}, RAW), "compression None is not known"),
    (parts(IMAGE | {"compression": "bslz4", "shape": [4, 4]}, RAW), "bslz4: "),
    (parts(IMAGE | {"role": 3}, RAW), "role is 3, not one of"),
]


@pytest.mark.parametrize(("message", "complaint"), BAD)
def test_malformed(message: list[bytes], complaint: str) -> None:
    """It changes nothing: images still belong to the series before it."""
    found = reader()
    decode(found, HEADER, {"role": "dark"})
    with pytest.raises(WireError, match=complaint):
        found.decode(message)
    frame = decode(found, IMAGE, RAW)
    assert (frame.series_id, frame.role) == ("scan_7-1", Role.DARK)


def test_malformed_image_keeps_its_number() -> None:
    with pytest.raises(WireError) as caught:
        decode(reader(), IMAGE, RAW[:-1])
    assert caught.value.image_id == 4


def test_channel_that_is_not_there() -> None:
    for channel in ("2", "0", "first", "-1"):
        with pytest.raises(WireError, match="there is no channel"):
            decode(reader(channel=channel), IMAGE, RAW)


def test_mutated_messages_only_raise_wire_errors() -> None:
    rng = random.Random(9)
    found = reader(max_bytes=1 << 22)
    image = np.arange(5000, dtype="u2").reshape(50, 100)
    packed = encoder("stins", compression="bslz4").encode(Frame("a", 1, image, 0.0))
    seeds = [
        parts(HEADER, {"exptime": 0.1, "role": "flat", "nimages": 3}), parts(IMAGE, RAW),
        parts(END), [bytes(part) for part in packed],
    ]  # fmt: skip
    refused = sum(is_refused(found, mutated(rng.choice(seeds), rng)) for _ in range(3000))
    assert 800 < refused < 2950
    assert decode(found, IMAGE, RAW).image_id == 4
