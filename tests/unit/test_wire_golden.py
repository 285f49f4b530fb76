"""Messages that our encoders did not make; each builder in tests/golden names its source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cbor2
import numpy as np
import pytest

from cade.frames import Beamline, Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import Decoder, Message, decoder
from cade.wire.ntndarray import NtndArrayDecoder
from cade.wire.options import DecoderOptions
from tests.golden import array_1_0, dectris_v1, dectris_v2, karabo, ntndarray, odin, stins

NOW_S = 1_793_620_000.0
IMAGES = [np.random.default_rng(n).poisson(30, (37, 53)).astype("<u2") for n in range(3)]


def reader(name: str, **options: Any) -> Decoder:
    return decoder(name, clock=lambda: NOW_S, **options)


def events(found: Decoder, messages: list[list[bytes]]) -> list[Message]:
    return [event for parts in messages for event in found.decode(parts)]


def starts(found: list[Message]) -> list[SeriesStart]:
    return [event for event in found if isinstance(event, SeriesStart)]


def frames(found: list[Message]) -> list[Frame]:
    return [event for event in found if isinstance(event, Frame)]


SERIES: dict[str, tuple[str, Callable[[list[Image]], list[list[bytes]]]]] = {
    "stream-v2": ("dectris-v2", lambda images: dectris_v2.series("01JABC", images, "flat", None)),
    "stream-v2-bslz4": ("dectris-v2", lambda images: dectris_v2.series("01JABC", images, "flat")),
    "stream-v2-lz4": (
        "dectris-v2",
        lambda images: dectris_v2.series("01JABC", images, "flat", "lz4"),
    ),
    "simplon-v1": ("dectris-v1", lambda images: dectris_v1.series(12, images, "flat", None)),
    "simplon-v1-bslz4": ("dectris-v1", lambda images: dectris_v1.series(12, images, "flat")),
    "simplon-v1-lz4": ("dectris-v1", lambda images: dectris_v1.series(12, images, "flat", "lz4")),
    "array-1.0": ("array-1.0", lambda images: array_1_0.series("pco", images)),
    "adzmq-1.1": (
        "array-1.0",
        lambda images: [
            array_1_0.adzmq(one, 7 + n, "flat", old=True) for n, one in enumerate(images)
        ],
    ),
    "adzmq-1.4": (
        "array-1.0",
        lambda images: [
            array_1_0.adzmq(one, 7 + n, "flat", old=False) for n, one in enumerate(images)
        ],
    ),
    "odin": ("odin", lambda images: odin.series("run", images, None)),
    "odin-bslz4": ("odin", lambda images: odin.series("run", images)),
    "odin-lz4": ("odin", lambda images: odin.series("run", images, "lz4")),
    "karabo": ("karabo", lambda images: karabo.series("CAM:out", images, "flat")),
    "stins": ("stins", lambda images: stins.series("/data/a.h5", images, "flat", None)),
    "stins-bslz4": ("stins", lambda images: stins.series("/data/a.h5", images, "flat")),
}
WITHOUT_ROLE = ("array-1.0", "odin", "odin-bslz4", "odin-lz4")
LIVE = {"odin", "odin-bslz4", "odin-lz4"}


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
def test_series(name: str, dtype: str) -> None:
    format_name, messages = SERIES[name]
    images: list[Image] = [image.astype(dtype) for image in IMAGES]
    found = events(reader(format_name), messages(images))
    (start,) = starts(found)
    shown = frames(found)
    assert len(shown) == 3
    for frame, image in zip(shown, images, strict=True):
        np.testing.assert_array_equal(frame.data, image)
        assert frame.data.dtype == image.dtype
    assert [frame.image_id for frame in shown] == ([0, 5, 10] if name in LIVE else [0, 1, 2])
    assert {frame.series_id for frame in shown} == {start.series_id}
    assert {frame.role for frame in shown} == {None if name in WITHOUT_ROLE else Role.FLAT}
    if format_name in ("dectris-v2", "dectris-v1", "stins"):
        assert found[-1] == SeriesEnd(start.series_id)
        assert start.image_count == 3
        assert start.beamline.exposure_s == 0.0125
        assert start.beamline.energy_ev == 30_000.0


@pytest.mark.parametrize("algorithm", [None, "bslz4", "lz4"])
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
def test_arrays_of_p4p(algorithm: str | None, dtype: str) -> None:
    images: list[Image] = [image.astype(dtype) for image in IMAGES]
    found = NtndArrayDecoder(DecoderOptions(clock=lambda: NOW_S))
    events = [
        one for array in ntndarray.series(images, "flat", algorithm) for one in found.decode(array)
    ]
    (start,) = starts(events)
    shown = frames(events)
    assert start.role == Role.FLAT
    assert [frame.image_id for frame in shown] == [0, 1, 2]
    assert shown[0].timestamp_s == ntndarray.SECONDS + 7.5
    for frame, image in zip(shown, images, strict=True):
        np.testing.assert_array_equal(frame.data, image)
        assert frame.data.dtype == image.dtype


def test_stream_v2_in_every_field() -> None:
    messages = dectris_v2.series("01JABC", IMAGES, "flat")
    found = events(reader("dectris-v2", channel="threshold_2", calibration=True), messages)
    (start,) = starts(found)
    begun_s = 1_793_613_600.123456  # whole microseconds: finer digits are left aside
    assert start == SeriesStart(
        "01JABC", begun_s, 3, (37, 53), "uint16", Role.FLAT,
        Beamline(energy_ev=30_000.0, pixel_size_m=75e-6, exposure_s=0.0125),
    )  # fmt: skip
    assert start.flatfield is not None
    assert start.pixel_mask is not None
    np.testing.assert_array_equal(start.flatfield, np.full((37, 53), 1.25, "f4"))
    np.testing.assert_array_equal(start.pixel_mask, np.eye(37, 53, dtype="u4"))
    for number, frame in enumerate(frames(found)):
        np.testing.assert_array_equal(frame.data, ~IMAGES[number])
        assert frame.timestamp_s == 1_793_613_601.0 + number * 0.0126
        assert frame.saturation_value == 65534.0


def test_simplon_v1_in_every_field() -> None:
    found = events(
        reader("dectris-v1", calibration=True), dectris_v1.series(12, IMAGES, "reference")
    )
    (start,) = starts(found)
    assert start == SeriesStart(
        "12", NOW_S, 3, role=Role.REFERENCE,
        beamline=Beamline(30_000.0, 75e-6, distance_m=0.25, exposure_s=0.0125),
    )  # fmt: skip
    assert start.flatfield is not None
    assert start.pixel_mask is not None
    np.testing.assert_array_equal(start.flatfield, np.full((37, 53), 1.25, "f4"))
    np.testing.assert_array_equal(start.pixel_mask, np.eye(37, 53, dtype="u4"))
    assert {frame.saturation_value for frame in frames(found)} == {65534.0}


def test_time_stamps_of_area_detector() -> None:
    found = events(reader("array-1.0"), [array_1_0.adzmq(IMAGES[0], 3, "dark", old=False)])
    assert frames(found)[0].timestamp_s == array_1_0.EPICS_S + 3 + 631_152_000.0
    assert starts(found)[0].role == Role.DARK


# RFC 8746, section 3.1: the one example in rows and in columns, to the letter.
EXAMPLES = {
    40: "d828 82 820203 d841 4c 000200040008000400100100",
    1040: "d90410 82 820203 d841 4c 000200040004001000080100",
}


@pytest.mark.parametrize("tag", EXAMPLES)
def test_examples_of_rfc_8746(tag: int) -> None:
    head = cbor2.dumps({"type": "image", "series_id": 1, "image_id": 0, "data": {"a": 0}})[:-1]
    (frame,) = reader("dectris-v2").decode([head + bytes.fromhex(EXAMPLES[tag])])
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, [[2, 4, 8], [4, 16, 256]])
    assert frame.data.dtype == np.uint16
