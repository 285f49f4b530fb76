"""NTNDArray: arrays that p4p makes and that ADCore would, series, malformed and mutated ones."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import p4p
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from p4p.nt import NTNDArray

from cade.frames import Beamline, Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import Message, WireError
from cade.wire.compression import Compression, compress
from cade.wire.ntndarray import NtndArrayDecoder, NtndArrayEncoder
from cade.wire.options import DecoderOptions, EncoderOptions
from tests.unit.wire_mutation import ODD

Fields = dict[str, Any]
PIXELS = np.arange(6, dtype="u2").reshape(2, 3)
KIND = NTNDArray().type
NOW_S = 1_793_613_600.0
START_S = 1_790_000_000


def decoder(**options: Any) -> NtndArrayDecoder:
    names = ("detector", "exposure_key")
    given_names = {name: options.pop(name) for name in names if name in options}
    return NtndArrayDecoder(DecoderOptions(clock=lambda: NOW_S, **options), **given_names)


def wrapped(image: Image = PIXELS, number: int = 7, **attributes: object) -> Fields:
    """As p4p's own wrapper makes it, and its server would send it; not by our encoder."""
    value = NTNDArray().wrap(image, attrib={"ColorMode": 0, **attributes})
    value["uniqueId"] = number
    value["dataTimeStamp.secondsPastEpoch"] = START_S + number
    value["dataTimeStamp.nanoseconds"] = 250_000_000
    return fields_of(value)


def fields_of(value: p4p.Value) -> Fields:
    fields: Fields = value.todict()
    return fields


def frame_of(array: Fields, reader: NtndArrayDecoder | None = None) -> Frame:
    frame = (reader or decoder()).decode(array)[-1]
    assert isinstance(frame, Frame)
    return frame


def ids(reader: NtndArrayDecoder, *arrays: Fields) -> list[tuple[str, int]]:
    """Number of the series and of the image in it."""
    frames = [frame_of(array, reader) for array in arrays]
    return [(frame.series_id.removeprefix("ntndarray-"), frame.image_id) for frame in frames]


def test_what_p4p_wraps() -> None:
    array = wrapped(role="flat", AcquireTime=0.5)
    start, frame = decoder(origin="A:Image", exposure_key="AcquireTime").decode(array)
    assert start == SeriesStart(
        "ntndarray-1", START_S + 7.25, shape=(2, 3), dtype="uint16", role=Role.FLAT,
        beamline=Beamline(exposure_s=0.5),
    )  # fmt: skip
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert (frame.series_id, frame.image_id) == ("ntndarray-1", 0)
    assert (frame.timestamp_s, frame.role, frame.origin) == (START_S + 7.25, Role.FLAT, "A:Image")


def test_pixels_are_a_view_that_nobody_can_write() -> None:
    array = wrapped()
    image = frame_of(array).data
    assert np.shares_memory(image, array["value"])
    assert not image.flags.writeable


def test_x_comes_first() -> None:
    dimensions = wrapped()["dimension"]
    assert [one["size"] for one in dimensions] == [3, 2]
    single = wrapped() | {"dimension": [*dimensions, dimensions[0] | {"size": 1}]}
    assert frame_of(single).data.shape == (2, 3)


@pytest.mark.parametrize("dtype", ["?", *"bBhHiIlLfd"])
def test_every_member_of_the_union(dtype: str) -> None:
    image = (np.arange(6).reshape(2, 3) % 2).astype(dtype)
    frame = frame_of(wrapped(image))
    np.testing.assert_array_equal(frame.data, image)
    assert frame.data.dtype == (np.uint8 if dtype == "?" else image.dtype)


@given(
    hnp.arrays(
        st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
    ),
    st.sampled_from([None, "lz4", "bslz4"]),
    st.sampled_from([None, *Role]),
)
def test_what_is_encoded_comes_back(
    image: Image, compression: Compression | None, role: Role | None
) -> None:
    writer = NtndArrayEncoder(EncoderOptions(compression=compression))
    assert writer.encode(SeriesStart("a", 0.0, role=role, beamline=Beamline(exposure_s=2.0))) == {}
    value = p4p.Value(KIND, writer.encode(Frame("a", 41, image, START_S + 0.5)))
    assert writer.encode(SeriesEnd("a")) == {}
    start, frame = decoder(exposure_key="AcquireTime").decode(fields_of(value))
    assert isinstance(start, SeriesStart)
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, image)
    assert frame.data.dtype == image.dtype
    assert (frame.role, frame.timestamp_s) == (role, START_S + 0.5)
    assert start.beamline.exposure_s == 2.0
    assert not frame.data.flags.writeable


SPECKLE = np.random.default_rng(1).integers(0, 50, (40, 60), np.uint16)


def compressed(codec: str, payload: bytes, **change: object) -> Fields:
    """As NDPva sends it: the bytes as ubyteValue, the type as ScalarType (6 is ushort)."""
    return wrapped(SPECKLE) | {
        "value": np.frombuffer(payload, np.uint8),
        "codec": {"name": codec, "parameters": 6},
        "compressedSize": len(payload),
        **change,
    }


def test_compressors_of_the_codec_plugin() -> None:
    lz4, bslz4 = compress(SPECKLE, "lz4"), compress(SPECKLE, "bslz4")
    for codec, payload in (("lz4hdf5", lz4), ("bslz4", bslz4[12:]), ("bslz4", bslz4)):
        np.testing.assert_array_equal(frame_of(compressed(codec, payload)).data, SPECKLE)


def test_compressed_by_the_newer_plugin() -> None:
    """NDPvxs sends an array of the original type and length, and another number for the type."""
    payload = compress(SPECKLE, "bslz4")[12:]
    stored = np.zeros(SPECKLE.size, np.uint16)
    stored.view(np.uint8)[: len(payload)] = np.frombuffer(payload, np.uint8)
    number = {"codec": {"name": "bslz4", "parameters": 3}}
    array = compressed("bslz4", payload, value=stored) | number
    np.testing.assert_array_equal(frame_of(array).data, SPECKLE)


@pytest.mark.parametrize(
    ("mode", "accepted"),
    [(None, True), (0, True), ("Mono", True), (1, False), (2, False), (99, False), ("RGB1", False)],
)
def test_only_monochrome_images(mode: object, accepted: bool) -> None:
    array = wrapped(ColorMode=mode)
    if accepted:
        assert frame_of(array).data.shape == (2, 3)
    else:
        with pytest.raises(WireError, match="not Mono"):
            decoder().decode(array)


def test_colour_image_of_p4p() -> None:
    value = NTNDArray().wrap(np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(WireError, match="ColorMode is RGB1, not Mono"):
        decoder().decode(fields_of(value))


@pytest.mark.parametrize(
    ("value", "role"),
    [("reference", Role.REFERENCE), (" Dark ", Role.DARK), (0, Role.SAMPLE), (3, Role.DARK),
     (1.0, Role.REFERENCE), ("", None), (None, None)],
)  # fmt: skip
def test_roles(value: object, role: Role | None) -> None:
    assert frame_of(wrapped(mode=value), decoder(role_key="mode")).role is role


@pytest.mark.parametrize("value", ["sampel", 4, -1, 0.5, True, np.zeros(3), float("nan")])
def test_no_roles(value: object) -> None:
    with pytest.raises(WireError, match="role"):
        decoder().decode(wrapped() | {"attribute": [{"name": "role", "value": value}]})


def test_time_is_the_drivers_if_it_is_one() -> None:
    array = wrapped()
    ioc = {"secondsPastEpoch": START_S + 60, "nanoseconds": 0}
    assert frame_of(array | {"timeStamp": ioc}).timestamp_s == START_S + 7.25
    for camera_s in (0, 12_345, 631_152_000, START_S - 631_152_000, 1 << 40):
        clock = {"secondsPastEpoch": camera_s, "nanoseconds": 0}
        of_camera = array | {"dataTimeStamp": clock, "timeStamp": ioc}
        assert frame_of(of_camera).timestamp_s == START_S + 60
    unset = {"secondsPastEpoch": 0, "nanoseconds": 0}
    none = array | {"dataTimeStamp": unset, "timeStamp": unset}
    assert frame_of(none).timestamp_s == NOW_S


def test_ids_count_from_the_first_image_and_gaps_stay() -> None:
    reader = decoder()
    assert ids(reader, *(wrapped(number=n) for n in (7, 8, 11))) == [("1", 0), ("1", 1), ("1", 4)]


def later(array: Fields, seconds: int) -> Fields:
    stamp = array["dataTimeStamp"]
    moved = stamp | {"secondsPastEpoch": stamp["secondsPastEpoch"] + seconds}
    return array | {"dataTimeStamp": moved}


def test_series_begins_when_the_number_goes_back_or_after_silence() -> None:
    reader = decoder()
    assert ids(reader, wrapped(number=7), wrapped(number=8)) == [("1", 0), ("1", 1)]
    ended, start, frame = reader.decode(later(wrapped(number=7), 60))
    assert ended == SeriesEnd("ntndarray-1")
    assert isinstance(start, SeriesStart)
    assert (start.series_id, frame.series_id) == ("ntndarray-2", "ntndarray-2")
    reader.forget()
    assert ids(reader, later(wrapped(number=8), 60)) == [("3", 0)]


def test_late_image_and_repeated_image_begin_no_series() -> None:
    reader = decoder()
    numbers = (7, 9, 8, 9, 10)
    found = ids(reader, *(wrapped(number=n) for n in numbers))
    assert found == [("1", n - 7) for n in numbers]


def test_images_that_are_not_numbered_are_counted() -> None:
    """`SharedPV(nt=NTNDArray()).post(array)` leaves the number, and perhaps the time, at 0."""
    timeless = wrapped(number=0) | {"dataTimeStamp": {"secondsPastEpoch": 0, "nanoseconds": 0}}
    assert ids(decoder(), *[timeless] * 3) == [("1", 0), ("1", 1), ("1", 2)]
    timed = [later(wrapped(number=5), n) for n in range(3)]
    assert ids(decoder(), *timed) == [("1", 0), ("1", 1), ("1", 2)]
    numbered = [wrapped(number=5), later(wrapped(number=5), 1), later(wrapped(number=6), 1)]
    assert ids(decoder(), *numbered) == [("1", 0), ("1", 1), ("1", 2)]


def test_numbers_may_be_negative() -> None:
    assert ids(decoder(), *(wrapped(number=n) for n in (-2, -1, 0))) == [
        ("1", 0), ("1", 1), ("1", 2),
    ]  # fmt: skip


def test_series_ends_with_its_references_and_with_its_exposure() -> None:
    reader = decoder(exposure_key="t")
    arrays = [
        wrapped(number=1, role="reference"), wrapped(number=2, role="sample"),
        wrapped(number=3, role="reference"), wrapped(number=4),
        wrapped(number=5, t=0.1), wrapped(number=6, t=0.1001), wrapped(number=7, t=0.2),
        wrapped(number=8, t="fast"),
    ]  # fmt: skip
    found = [series for series, _ in ids(reader, *arrays)]
    assert found == ["1", "2", "2", "3", "4", "4", "5", "6"]


def test_another_part_of_the_sensor_is_another_detector() -> None:
    reader = decoder(detector="eiger")
    array = wrapped(number=1)
    x, y = array["dimension"]
    moved = wrapped(number=2) | {"dimension": [x | {"offset": 8}, y | {"reverse": True}]}
    binned = wrapped(number=3) | {"dimension": [x | {"binning": 2}, y]}
    starts = [one for a in (array, moved, binned, binned) for one in reader.decode(a)]
    assert [one.beamline.detector for one in starts if isinstance(one, SeriesStart)] == [
        "eiger", "eiger x from 8 by 1, y from 0 by 1 reversed", "eiger x from 0 by 2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"uniqueId": None}, "uniqueId must be"),
        ({"uniqueId": 1 << 31}, "uniqueId must be"),
        ({"value": None}, "value must be an array of numbers, not NoneType"),
        ({"value": 3.5}, "not float"),
        ({"value": ["a"]}, "not list"),
        ({"value": PIXELS}, "not ndarray"),
        ({"value": np.zeros(6, "c8")}, "pixels of type complex64 are not known"),
        ({"value": np.zeros(5, "u2")}, "value has 5 pixels, the dimensions are those of 2 x 3"),
        ({"dimension": None}, "dimension must be a list"),
        ({"dimension": [3, 2]}, "dimension must be a list of structures"),
        ({"dimension": []}, "that of one image"),
        ({"dimension": [{"size": 6}]}, "that of one image"),
        ({"dimension": [{"size": -3}, {"size": -2}]}, "positive whole numbers"),
        ({"dimension": [{"size": 0}, {"size": 2}]}, "positive whole numbers"),
        ({"dimension": [{"size": 1 << 30}, {"size": 1 << 30}]}, "bytes, more than"),
        ({"dimension": [{"size": 3, "offset": "a"}, {"size": 2}]}, "offset of a dimension"),
        ({"attribute": None}, "attribute must be a list"),
        ({"attribute": [{}] * 10_001}, "at most 10000"),
        ({"codec": {"name": "blosc", "parameters": 6}}, "codec 'blosc' is not supported: set"),
        ({"codec": {"name": "jpeg", "parameters": 5}}, "codec 'jpeg' is not supported"),
        ({"codec": {"name": 3}}, "codec 3 is not supported"),
    ],
)  # fmt: skip
def test_refused(change: Fields, complaint: str) -> None:
    reader = decoder()
    with pytest.raises(WireError, match=complaint):
        reader.decode(wrapped() | change)
    assert ids(reader, wrapped()) == [("1", 0)]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"compressedSize": 0}, "compressedSize is 0"),
        ({"compressedSize": 1 << 40}, "compressedSize is"),
        ({"compressedSize": None}, "compressedSize must be"),
        (
            {"compressedSize": 40},
            "uncompressedSize is 4800, but 40 x 60 uint8 are 2400 bytes: does",
        ),
        ({"uncompressedSize": 4801}, "uncompressedSize is 4801, but 40 x 60 uint16 are 4800"),
        ({"codec": {"name": "bslz4", "parameters": 1}}, "does codec.parameters state"),
        ({"codec": {"name": "bslz4", "parameters": 11}}, "codec.parameters must number"),
        ({"codec": {"name": "bslz4", "parameters": "ushort"}}, "codec.parameters must number"),
        ({"value": np.full(500, 255, "u1"), "compressedSize": 500}, "bslz4"),
    ],
)
def test_refused_compressed(change: Fields, complaint: str) -> None:
    payload = compress(SPECKLE, "bslz4")[12:]
    with pytest.raises(WireError, match=complaint):
        decoder().decode(compressed("bslz4", payload) | change)


@pytest.mark.parametrize("codec", ["lz4", "lz4hdf5", "bslz4"])
def test_decompression_bombs(codec: str) -> None:
    dimensions = [{"size": 1 << 14}, {"size": 1 << 14}]
    change = {"dimension": dimensions, "uncompressedSize": 0}
    payload = np.zeros(1000, np.uint8).tobytes()
    with pytest.raises(WireError, match=r"cannot hold|declares"):
        decoder().decode(compressed(codec, payload, **change))
    with pytest.raises(WireError, match="more than the 1000 allowed"):
        decoder(max_bytes=1000).decode(compressed(codec, payload, **change))


def test_limit_on_both_sides() -> None:
    assert frame_of(wrapped(), decoder(max_bytes=12)).data.nbytes == 12
    with pytest.raises(WireError, match="more than the 11 allowed"):
        decoder(max_bytes=11).decode(wrapped())


def test_broken_image_says_which_it_was() -> None:
    reader = decoder()
    broken: Fields = {"value": None}
    for number, image_id in ((7, -1), (9, 2), (8, -1), (3, -1)):
        with pytest.raises(WireError) as caught:
            reader.decode(wrapped(number=number) | broken)
        assert caught.value.image_id == image_id
        if image_id < 0:
            reader.decode(wrapped(number=7))  # the first of the series, again and again
        if number == 9:
            reader.decode(wrapped(number=8))
    reader.forget()
    with pytest.raises(WireError) as caught:
        reader.decode(wrapped(number=10) | broken)
    assert caught.value.image_id == -1


MORE_ODD = [
    *ODD,
    np.zeros(6, "u2"),
    np.zeros((2, 3)),
    np.array(["a"]),
    {"size": 2},
    2**2000,
    "bslz4",
]


def mutated(array: Fields, rng: random.Random) -> Fields:
    """With odd values in its fields, or in the fields of those."""
    found = copy.copy(array)
    for _ in range(rng.randrange(1, 4)):
        key = rng.choice(list(found))
        value = found[key]
        if isinstance(value, list) and value and isinstance(value[0], dict) and rng.random() < 0.7:
            parts = [dict(one) for one in value]
            part = rng.choice(parts)
            part[rng.choice([*part, "size"])] = rng.choice(MORE_ODD)
            found[key] = parts
        elif isinstance(value, dict) and value and rng.random() < 0.7:
            found[key] = value | {rng.choice(list(value)): rng.choice(MORE_ODD)}
        elif isinstance(value, np.ndarray) and rng.random() < 0.7:
            found[key] = value[: rng.randrange(len(value) + 1)]
        else:
            found[key] = rng.choice(MORE_ODD)
    return found


def test_mutated_arrays_are_refused_or_images() -> None:
    rng = random.Random(5)
    payload = compress(SPECKLE, "bslz4")[12:]
    good = [wrapped(role="sample", AcquireTime=0.1), compressed("bslz4", payload)]
    reader = decoder(exposure_key="AcquireTime", max_bytes=1 << 20)
    messages: list[Message] = []
    complaints: list[str] = []
    for _ in range(3000):
        try:
            messages += reader.decode(mutated(rng.choice(good), rng))
        except WireError as error:
            complaints.append(str(error))
    images = [one.data for one in messages if isinstance(one, Frame)]
    assert len(complaints) > 500
    assert all(len(text) < 300 and text.isprintable() for text in complaints)
    assert len(images) > 500
    assert {image.ndim for image in images} == {2}
    assert frame_of(wrapped(number=1000), reader).data.shape == (2, 3)
