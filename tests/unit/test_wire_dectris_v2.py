"""DECTRIS Stream V2: messages made by hand with cbor2, round trips, malformed and mutated ones."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import h5py
import hdf5plugin
import numpy as np
import pytest
from cbor2 import CBORTag
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cade.frames import Beamline, Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import Decoder, WireError, decoder, encoder
from cade.wire.compression import Compression

START: dict[str, Any] = {
    "type": "start",
    "arm_date": CBORTag(0, "2026-11-02T10:00:00.5Z"),
    "channels": ["low", "high"],
    "count_time": 0.1,
    "image_dtype": "uint16",
    "image_size_x": 3,
    "image_size_y": 2,
    "incident_energy": 30_000.0,
    "number_of_images": 10,
    "pixel_mask": {"low": CBORTag(40, [[2, 3], CBORTag(70, bytes(24))])},
    "pixel_size_x": 75e-6,
    "pixel_size_y": 75e-6,
    "saturation_value": 4095,
    "series_id": 7,
    "series_unique_id": "01JABC",
    "user_data": {"role": "reference", "sample": {"name": "rods", "runs": [1, 2]}},
}
PIXELS = np.array([[1, 2, 3], [4, 5, 6]])
DATA = CBORTag(40, [[2, 3], CBORTag(69, PIXELS.astype("<u2").tobytes())])
IMAGE: dict[str, Any] = {
    "type": "image",
    "data": {"low": DATA, "high": CBORTag(40, [[2, 3], CBORTag(64, bytes(6))])},
    "image_id": 4,
    "real_time": [5_000_000, 50_000_000],
    "series_date": CBORTag(0, "2026-11-02T12:00:00+02:00"),
    "series_id": 7,
    "series_unique_id": "01JABC",
    "start_time": [125_000_000, 50_000_000],
    "stop_time": [130_000_000, 50_000_000],
    "user_data": None,
}
END: dict[str, Any] = {"type": "end", "series_id": 7, "series_unique_id": "01JABC"}
TEN_O_CLOCK_S = 1_793_613_600.0


def decode(message: object, reader: Decoder | None = None) -> Any:
    (event,) = (reader or decoder("dectris-v2")).decode([cbor2.dumps(message)])
    return event


def frame_of(data: object) -> Frame:
    found = decode(IMAGE | {"data": {"low": data}})
    assert isinstance(found, Frame)
    return found


def test_start() -> None:
    assert decode(START) == SeriesStart(
        series_id="01JABC",
        start_time_s=TEN_O_CLOCK_S + 0.5,
        image_count=10,
        shape=(2, 3),
        dtype="uint16",
        role=Role.REFERENCE,
        beamline=Beamline(energy_ev=30_000.0, pixel_size_m=75e-6, exposure_s=0.1),
    )


def test_start_with_as_little_as_possible() -> None:
    keys = ("type", "image_dtype", "image_size_x", "image_size_y", "series_id")
    start = decode({key: START[key] for key in keys}, decoder("dectris-v2", clock=lambda: 5.0))
    assert start == SeriesStart("7", 5.0, shape=(2, 3), dtype="uint16")


def test_unknown_quantities_are_none() -> None:
    start = decode(START | {"incident_energy": 0, "count_time": None, "number_of_images": 0})
    assert (start.beamline.energy_ev, start.beamline.exposure_s) == (None, None)
    assert start.image_count is None


def test_pixels_that_are_not_square_have_no_pitch() -> None:
    assert decode(START | {"pixel_size_y": 150e-6}).beamline.pixel_size_m is None
    del (only_x := dict(START))["pixel_size_y"]
    assert decode(only_x).beamline.pixel_size_m == 75e-6


def test_image_after_start() -> None:
    reader = decoder("dectris-v2", origin="tcp://a:1")
    decode(START, reader)
    frame = decode(IMAGE, reader)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert frame.data.dtype == np.dtype("uint16")
    assert (frame.series_id, frame.image_id) == ("01JABC", 4)
    assert frame.timestamp_s == TEN_O_CLOCK_S + 2.5
    assert (frame.role, frame.saturation_value) == (Role.REFERENCE, 4095.0)
    assert frame.origin == "tcp://a:1"


def test_image_of_another_series_inherits_nothing() -> None:
    reader = decoder("dectris-v2", clock=lambda: 5.0)
    decode(START, reader)
    frame = decode(IMAGE | {"series_unique_id": "02", "start_time": None}, reader)
    assert (frame.series_id, frame.role, frame.saturation_value) == ("02", None, None)
    assert frame.timestamp_s == 5.0
    reader.forget()
    assert decode(IMAGE, reader).role is None


def test_end() -> None:
    assert decode(END) == SeriesEnd("01JABC")
    assert decode({"type": "end", "series_id": 7}) == SeriesEnd("7")


@pytest.mark.parametrize(
    ("user_data", "role"),
    [
        ({"role": "flat"}, Role.FLAT),
        ({"role": " Dark "}, Role.DARK),
        ({"role": None}, None),
        ({"role": ""}, None),
        ({"other": "flat"}, None),
        ("SAMPLE", Role.SAMPLE),
        ('"sample"', Role.SAMPLE),
        ('{"role": "flat", "run": 3}', Role.FLAT),
        ("[1, 2", None),
        ("[" * 5000, None),
        ("7", None),
        ("a scan of rods", None),
        (["sample"], None),
        (None, None),
    ],
)
def test_role(user_data: object, role: Role | None) -> None:
    assert decode(IMAGE | {"user_data": user_data}).role == role
    assert decode(START | {"user_data": user_data}).role == role


def test_role_key() -> None:
    message = IMAGE | {"user_data": {"frame_type": "flat", "role": "dark"}}
    assert decode(message, decoder("dectris-v2", role_key="frame_type")).role == Role.FLAT


def test_role_of_an_image_comes_first() -> None:
    reader = decoder("dectris-v2")
    decode(START, reader)
    assert decode(IMAGE | {"user_data": "flat"}, reader).role == Role.FLAT


def test_channel() -> None:
    reader = decoder("dectris-v2", channel="high")
    decode(START, reader)
    assert not decode(IMAGE, reader).data.any()
    first = decoder("dectris-v2")
    decode(START, first)
    reordered = {"data": {"high": IMAGE["data"]["high"], "low": DATA}}
    assert decode(IMAGE | reordered, first).data.any()  # the first one that was announced
    assert not decode(IMAGE | reordered).data.any()  # nothing was: the first one there is


FLATFIELD = np.linspace(0.9, 1.1, 6, dtype="f4").reshape(2, 3)
CALIBRATION: dict[str, Any] = {
    "flatfield": {
        "low": CBORTag(40, [[2, 3], CBORTag(85, bytes(24))]),
        "high": CBORTag(40, [[2, 3], CBORTag(85, FLATFIELD.tobytes())]),
    },
    "pixel_mask": {"high": CBORTag(40, [[2, 3], CBORTag(70, PIXELS.astype("<u4").tobytes())])},
}


@pytest.mark.parametrize("channel", ["high", None])
def test_calibration_of_the_channel(channel: str | None) -> None:
    start = decode(
        START | CALIBRATION | {"channels": ["high", "low"]},
        decoder("dectris-v2", channel=channel, calibration=True),
    )
    np.testing.assert_array_equal(start.flatfield, FLATFIELD)
    np.testing.assert_array_equal(start.pixel_mask, PIXELS)


@pytest.mark.parametrize("enabled", [True, False, None])
def test_whether_the_detector_has_applied_its_flat_field(enabled: bool | None) -> None:
    message = START | CALIBRATION | ({} if enabled is None else {"flatfield_enabled": enabled})
    assert decode(message).flatfield_applied is (enabled is True)


@pytest.mark.parametrize(
    ("user_data", "monitor"),
    [
        ({"monitor": 1.5, "role": "sample"}, 1.5),
        ('{"monitor": 2}', 2.0),
        ({"monitor": -1}, -1.0),
        ({"monitor": True}, None),
        ({"monitor": "1.5"}, None),
        ({"monitor": 1 << 4096}, None),
        ({"monitor": None}, None),
        ("sample", None),
        (None, None),
    ],
)
def test_monitor_of_an_image(user_data: object, monitor: float | None) -> None:
    assert decode(IMAGE | {"user_data": user_data}).monitor == monitor


def test_calibration_that_is_not_sent() -> None:
    reader = decoder("dectris-v2", channel="low", calibration=True)
    start = decode(START | CALIBRATION, reader)
    assert not start.flatfield.any()
    assert start.pixel_mask is None
    assert decode(START | {"pixel_mask": None}, reader).pixel_mask is None


@pytest.mark.parametrize("value", [[], "no", {"low": b""}, {"low": 3}])
def test_calibration_is_looked_at_only_where_it_is_asked_for(value: object) -> None:
    assert decode(START | {"flatfield": value}).flatfield is None
    with pytest.raises(WireError, match=r"flatfield must be a map|must be an array"):
        decode(START | {"flatfield": value}, decoder("dectris-v2", calibration=True))


TYPED = {
    64: "u1", 68: "u1", 72: "i1", 65: ">u2", 66: ">u4", 67: ">u8", 69: "<u2", 70: "<u4",
    71: "<u8", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8", 80: ">f2",
    81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8",
}  # fmt: skip


@pytest.mark.parametrize("tag", TYPED)
def test_every_typed_array(tag: int) -> None:
    raw = PIXELS.astype(TYPED[tag])
    data = frame_of(CBORTag(40, [[2, 3], CBORTag(tag, raw.tobytes())])).data
    np.testing.assert_array_equal(data, PIXELS)
    assert data.dtype == raw.dtype.newbyteorder("=")
    assert not data.flags.writeable


# 1, −2.5, pi, the largest below infinity, the smallest above 0, infinity
QUADRUPLE = [
    "3fff" + "0" * 28, "c0004" + "0" * 27, "4000921fb54442d18469898cc51701b8",
    "7ffe" + "f" * 28, "0" * 31 + "1", "7fff" + "0" * 28,
]  # fmt: skip


@pytest.mark.parametrize("tag", [83, 87])
def test_128_bit_floats_become_64_bit(tag: int) -> None:
    """numpy has no such type: the numbers are those of IEEE 754, pi that of its tables."""
    step = 1 if tag == 83 else -1
    raw = b"".join(bytes.fromhex(number)[::step] for number in QUADRUPLE)
    data = frame_of(CBORTag(40, [[2, 3], CBORTag(tag, raw)])).data
    assert data.dtype == np.float64
    np.testing.assert_array_equal(data, [[1.0, -2.5, np.pi], [np.inf, 0.0, np.inf]])


def test_128_bit_float_that_is_no_number() -> None:
    raw = bytes.fromhex("7fff8" + "0" * 27)
    assert np.isnan(frame_of(CBORTag(40, [[1, 1], CBORTag(83, raw)])).data[0, 0])


def test_column_major() -> None:
    raw = PIXELS.astype("<u2").tobytes(order="F")
    np.testing.assert_array_equal(frame_of(CBORTag(1040, [[2, 3], CBORTag(69, raw)])).data, PIXELS)


def test_uncompressed_image_is_a_view() -> None:
    message = bytearray(cbor2.dumps(IMAGE))
    (frame,) = decoder("dectris-v2").decode([message])
    assert isinstance(frame, Frame)
    message[message.index(PIXELS.astype("<u2").tobytes())] = 99
    assert frame.data[0, 0] == 99


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<u4", "|u1", "<f4"])
@pytest.mark.parametrize("algorithm", ["bslz4", "lz4"])
def test_hdf5_chunk_as_an_image(algorithm: str, dtype: str, tmp_path: Path) -> None:
    """A chunk that HDF5 compressed is what tag 56500 holds."""
    image = np.random.default_rng(3).poisson(20, (100, 130)).astype(dtype)
    plugin = hdf5plugin.Bitshuffle(cname="lz4") if algorithm == "bslz4" else hdf5plugin.LZ4()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("a", data=image, chunks=image.shape, compression=plugin)
        chunk = bytes(stored.id.read_direct_chunk((0, 0))[1])
    (tag,) = (number for number, name in TYPED.items() if name == dtype.strip("|") and number != 68)
    packed = CBORTag(56500, [algorithm, image.itemsize, chunk])
    data = frame_of(CBORTag(40, [[100, 130], CBORTag(tag, packed)])).data
    np.testing.assert_array_equal(data, image)
    assert data.dtype.isnative
    assert not data.flags.writeable


IMAGES = hnp.arrays(
    st.sampled_from(["u1", "u2", "u4", "u8", "i1", "<i4", ">u2", ">f4", "f2", "f4", "f8"]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
    elements={"allow_nan": False},
)


@given(
    image=IMAGES,
    image_id=st.integers(0, 2**63 - 1),
    role=st.sampled_from([*Role, None]),
    compression=st.sampled_from(["bslz4", "lz4", None]),
    energy_ev=st.none() | st.floats(1e3, 1e5),
    count=st.none() | st.integers(1, 2**40),
)
def test_round_trip(
    image: Image,
    image_id: int,
    role: Role | None,
    compression: Compression | None,
    energy_ev: float | None,
    count: int | None,
) -> None:
    writer = encoder("dectris-v2", compression=compression, saturation_value=99)
    reader = decoder("dectris-v2", origin="here")
    height, width = image.shape
    start = SeriesStart(
        "a series", TEN_O_CLOCK_S, count, (height, width), image.dtype.newbyteorder("=").name,
        role, Beamline(energy_ev, 1e-5, None, None, 0.5),
    )  # fmt: skip
    assert reader.decode(writer.encode(start)) == (start,)
    sent = Frame("a series", image_id, image, TEN_O_CLOCK_S + 1.25, role)
    (frame,) = reader.decode(writer.encode(sent))
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, image)
    assert frame.data.dtype == image.dtype.newbyteorder("=")
    assert (frame.series_id, frame.image_id, frame.role) == ("a series", image_id, role)
    assert frame.timestamp_s == pytest.approx(TEN_O_CLOCK_S + 1.25, abs=1e-6)
    assert (frame.saturation_value, frame.origin) == (99.0, "here")
    assert reader.decode(writer.encode(SeriesEnd("a series"))) == (SeriesEnd("a series"),)


def tagged(data: object, shape: object = (2, 3), tag: int = 69, outer: int = 40) -> CBORTag:
    return CBORTag(outer, [shape, CBORTag(tag, data)])


def packed(*content: object) -> CBORTag:
    return tagged(CBORTag(56500, list(content)))


HEADER = (12).to_bytes(8, "big") + (8192).to_bytes(4, "big")
RAW = bytes(12)
BAD_DATA: list[tuple[object, str]] = [
    (RAW, "an image must be an array with tag 40"),
    (CBORTag(41, [[2, 3], CBORTag(69, RAW)]), "an image must be an array with tag 40"),
    (CBORTag(40, RAW), "must hold dimensions and data"),
    (CBORTag(40, [[2, 3]]), "must hold dimensions and data"),
    (CBORTag(40, [[2, 3], RAW]), "no known typed-array tag"),
    (CBORTag(40, [[2, 3], [1, 2, 3, 4, 5, 6]]), "no known typed-array tag"),
    (tagged(RAW, tag=76), "no known typed-array tag: 76"),
    (tagged(RAW, tag=83), "has 12 bytes, not 96"),
    (tagged(bytes(96), shape=[2**13, 2**13 + 1], tag=87), "more than the 67108864 allowed"),
    (tagged(RAW, tag=70), "has 12 bytes, not 24"),
    (tagged(RAW, shape=[3, 3]), "has 12 bytes, not 18"),
    (tagged(RAW[:-1]), "has 11 bytes, not 12"),
    (tagged("twelve bytes"), "must be a byte string"),
    (tagged(RAW, shape=[6]), "must be that of one image"),
    (tagged(RAW, shape=[2, 3, 1]), "must be that of one image"),
    (tagged(RAW, shape=[-2, -3]), "must hold positive whole numbers"),
    (tagged(b"", shape=[0, 3]), "must hold positive whole numbers"),
    (tagged(RAW, shape=[2.0, 3.0]), "must hold positive whole numbers"),
    (tagged(RAW, shape=[2**40, 3]), "must hold positive whole numbers"),
    (tagged(RAW, shape=["2", "3"]), "must hold positive whole numbers"),
    (tagged(RAW, shape="23"), "must be a list"),
    (tagged(RAW, shape=[2**30, 2**30]), "more than the 1073741824 allowed"),
    (packed("zip", 2, HEADER), "compression 'zip' is not known"),
    (packed("bslz4", 2, HEADER[:8]), "too few for the header"),
    (packed("bslz4", 2, HEADER), "do not end with the last block"),
    (packed("bslz4", 3, HEADER + RAW), "no elements of 3 bytes"),
    (packed("lz4", 0, HEADER), "cut short"),
    (packed("bslz4", 2), "must hold an algorithm, an element size and bytes"),
    (packed("bslz4", "2", HEADER), "must hold an algorithm, an element size and bytes"),
    (packed("bslz4", 2, "text"), "must hold an algorithm, an element size and bytes"),
]


@pytest.mark.parametrize(("data", "complaint"), BAD_DATA)
def test_malformed_data(data: object, complaint: str) -> None:
    reader = decoder("dectris-v2")
    with pytest.raises(WireError, match=complaint) as caught:
        decode(IMAGE | {"data": {"low": data}}, reader)
    assert caught.value.image_id == 4
    assert decode(IMAGE, reader).image_id == 4


BAD_IMAGE: list[tuple[dict[str, object], str]] = [
    ({"image_id": -1}, "image_id must be a whole number from 0, not -1"),
    ({"image_id": 2**63}, "image_id must be a whole number"),
    ({"image_id": True}, "image_id must be a whole number"),
    ({"image_id": 4.0}, "image_id must be a whole number"),
    ({"image_id": None}, "image_id must be a whole number"),
    ({"data": None}, "data must be a map"),
    ({"data": {}}, "data must be a map"),
    ({"data": DATA}, "data must be a map"),
    ({"series_unique_id": 3}, "series_unique_id must be a printable text"),
    ({"series_unique_id": "a\nb"}, "series_unique_id must be a printable text"),
    ({"series_unique_id": "a" * 201}, "series_unique_id must be a printable text"),
    ({"series_unique_id": None, "series_id": "7"}, "series_id must be a whole number"),
    ({"series_date": "yesterday"}, "series_date is no date: 'yesterday'"),
    ({"series_date": 5}, "series_date is no date"),
    ({"series_date": CBORTag(1, 5)}, "series_date is no date"),
    ({"start_time": 5}, "start_time must be"),
    ({"start_time": [5]}, "start_time must be"),
    ({"start_time": [5, 0]}, "start_time must be"),
    ({"start_time": [-5, 10]}, "start_time must be"),
    ({"start_time": [0.5, 10]}, "start_time must be"),
    ({"user_data": {"role": "banana"}}, r"user_data\['role'\] is 'banana', not one of sample, "),
    ({"user_data": {"role": 1}}, r"user_data\['role'\] is 1, not one of"),
    ({"user_data": {"role": ["sample"]}}, r"user_data\['role'\] is \['sample'\], not one of"),
    ({"type": "picture"}, "type must be start, image or end, not 'picture'"),
    ({"type": None}, "type must be start, image or end"),
    ({"type": ["image"]}, "type must be start, image or end"),
]


@pytest.mark.parametrize(("change", "complaint"), BAD_IMAGE)
def test_malformed_image(change: dict[str, object], complaint: str) -> None:
    reader = decoder("dectris-v2")
    with pytest.raises(WireError, match=complaint):
        decode(IMAGE | change, reader)
    assert decode(IMAGE, reader).image_id == 4


BAD_START: list[tuple[dict[str, object], str]] = [
    ({"image_size_x": 0}, "image_size must hold positive"),
    ({"image_size_y": -2}, "image_size_y must be a whole number"),
    ({"image_size_x": "3"}, "image_size_x must be a whole number"),
    ({"image_dtype": "object"}, "image_dtype 'object' is not known"),
    ({"image_dtype": None}, "image_dtype must be a printable text"),
    ({"number_of_images": -1}, "number_of_images must be a whole number"),
    ({"incident_energy": "30 keV"}, "incident_energy must be a number, not '30 keV'"),
    ({"incident_energy": float("inf")}, "incident_energy must be a finite number"),
    ({"count_time": float("nan")}, "count_time must be a finite number"),
    ({"pixel_size_x": True}, "pixel_size_x must be a number"),
    ({"saturation_value": [1]}, "saturation_value must be a number"),
    ({"channels": "low"}, "channels must be a list of names"),
    ({"channels": [1]}, "channels must be a list of names"),
    ({"arm_date": CBORTag(0, "2026-13-01")}, "arm_date is no date"),
    ({"user_data": {"role": "banana"}}, "not one of sample"),
]


@pytest.mark.parametrize(("change", "complaint"), BAD_START)
def test_malformed_start(change: dict[str, object], complaint: str) -> None:
    """It changes nothing: images still get what the start before it said."""
    reader = decoder("dectris-v2")
    decode(START, reader)
    with pytest.raises(WireError, match=complaint):
        decode(START | {"user_data": "dark"} | change, reader)
    assert decode(IMAGE, reader).role == Role.REFERENCE


@pytest.mark.parametrize("key", ["series_id", "image_id", "data", "type"])
def test_missing_field(key: str) -> None:
    message = {name: value for name, value in IMAGE.items() if name != key}
    if key == "series_id":
        del message["series_unique_id"]
    with pytest.raises(WireError, match=key):
        decode(message)


def test_missing_channel() -> None:
    with pytest.raises(WireError, match="channel 'no' is not one of"):
        decode(START, decoder("dectris-v2", channel="no"))
    with pytest.raises(WireError, match="data has no channel 'no', only"):
        decode(IMAGE, decoder("dectris-v2", channel="no"))


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([], "has 0 parts, not 1"),
        ([b"", b""], "has 2 parts, not 1"),
        ([b""], "cut short"),
        ([b"{}"], "cut short"),
        ([cbor2.dumps([START])], "must be a CBOR map"),
        ([cbor2.dumps(CBORTag(55799, START))], "must be a CBOR map"),
        ([cbor2.dumps(START) + b"\0"], "1 bytes after the end"),
        ([b"\x81" * 1000], "nested too deeply"),
    ],
)
def test_no_message(parts: list[bytes], complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        decoder("dectris-v2").decode(parts)


def test_every_truncation() -> None:
    reader = decoder("dectris-v2")
    for message in (START, IMAGE, END):
        whole = cbor2.dumps(message)
        for length in range(len(whole)):
            with pytest.raises(WireError):
                reader.decode([whole[:length]])
        assert reader.decode([whole])


def test_size_limits() -> None:
    message = cbor2.dumps(IMAGE)
    assert decoder("dectris-v2", max_bytes=len(message)).decode([message])
    with pytest.raises(WireError, match="more than the"):
        decoder("dectris-v2", max_bytes=len(message) - 1).decode([message])
    black = np.zeros((300, 300), "u2")  # small on the wire, 180 kB when it is unpacked
    writer = encoder("dectris-v2", compression="bslz4")
    parts = writer.encode(Frame("a", 0, black, 0.0))
    assert decoder("dectris-v2", max_bytes=180_000).decode(parts)
    with pytest.raises(WireError, match="has 180000 bytes, more than the 179999 allowed"):
        decoder("dectris-v2", max_bytes=179_999).decode(parts)


def mutations(rng: random.Random) -> list[Callable[[bytearray], None]]:
    def flip(data: bytearray) -> None:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)

    def overwrite(data: bytearray) -> None:
        start = rng.randrange(len(data))
        data[start : start + 4] = rng.randbytes(4)

    def extreme(data: bytearray) -> None:
        start = rng.randrange(len(data))
        data[start : start + 9] = rng.choice([b"\x1b", b"\x5b", b"\x9b", b"\xbb", b"\x3b"]) + (
            rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]).to_bytes(8, "big")
        )

    def delete(data: bytearray) -> None:
        start = rng.randrange(len(data))
        del data[start : start + rng.randrange(1, 9)]

    def repeat(data: bytearray) -> None:
        start = rng.randrange(len(data))
        data[start:start] = data[start : start + rng.randrange(1, 40)]

    return [flip, overwrite, extreme, delete, repeat]


def structures(rng: random.Random) -> dict[str, Any]:
    """A message with one field, of the map or inside the image, replaced by something odd."""
    odd: list[Any] = [
        None, True, -1, 0, 2**64 - 1, -(2**64), 1e308, float("nan"), "", "role", b"", [], {},
        [[]], {1: 2}, CBORTag(40, []), CBORTag(56500, [1, 2, 3]), CBORTag(2, b"\xff" * 30),
        sys.maxsize, [2**31, 2**31], "\ud7ff\0", CBORTag(0, "9999-12-31T23:59:59-23:59"),
    ]  # fmt: skip
    message = dict(rng.choice([START, IMAGE, END]))
    if "data" in message and rng.random() < 0.5:
        content: list[Any] = [[2, 3], CBORTag(69, RAW)]
        content[rng.randrange(2)] = rng.choice(odd)
        message["data"] = {"low": CBORTag(rng.choice([40, 1040]), content)}
    else:
        message[rng.choice(list(message))] = rng.choice(odd)
    return message


@pytest.mark.parametrize("compression", [None, "bslz4", "lz4"])
def test_mutated_messages_only_raise_wire_errors(compression: Compression | None) -> None:
    rng = random.Random(5)
    reader = decoder("dectris-v2", max_bytes=1 << 22)
    writer = encoder("dectris-v2", compression=compression)
    image = np.arange(5000, dtype="u2").reshape(50, 100)
    good = bytes(*writer.encode(Frame("a", 1, image, 0.0)))
    seeds = [good, cbor2.dumps(START), cbor2.dumps(IMAGE), cbor2.dumps(END)]
    refused = 0
    for _ in range(1500):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 4)):
            rng.choice(mutations(rng))(data)
        refused += is_refused(reader, bytes(data))
        refused += is_refused(reader, cbor2.dumps(structures(rng)))
    assert refused > 500
    (frame,) = reader.decode([good])
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, image)


def is_refused(reader: Decoder, data: bytes) -> bool:
    try:
        reader.decode([data])
    except WireError as error:
        complaint = str(error)
    else:
        return False
    assert len(complaint) < 300
    assert complaint.isprintable()
    return True
