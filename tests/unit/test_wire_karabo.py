"""karabo-bridge 2.2: trains that its own package makes and reads, malformed and mutated ones."""

from __future__ import annotations

import random
import sys
from typing import Any

import karabo_bridge
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from karabo_bridge.simulation import data_generator

from cade.errors import UsageError
from cade.frames import Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import Decoder, WireError, decoder, encoder
from tests.unit.wire_mutation import is_refused, mutated

NOW_S = 1_793_613_600.0
PIXELS = np.array([[1, 2, 3], [4, 5, 6]], "u2")
CAMERA = "SPB_EHD/CAM/1:daqOutput"
MOTOR = "SPB_EHD/MOTOR/Y"
TRAIN = 10_000_000_000


def reader(**options: Any) -> Decoder:
    return decoder("karabo", clock=lambda: NOW_S, **options)


def train(
    image: Image = PIXELS, source: str = CAMERA, tid: int | None = TRAIN, **values: object
) -> list[bytes]:
    """A train of a camera and a motor, by the package."""
    data = {source: {"data.image.pixels": image, **values}, MOTOR: {"actualPosition": 1.5}}
    times = {"timestamp": NOW_S - 1, "timestamp.sec": "1793613599", "timestamp.frac": "0" * 18}
    about = times if tid is None else times | {"timestamp.tid": tid}
    metadata = {name: {"source": name, **about} for name in data}
    return [bytes(part) for part in karabo_bridge.serialize(data, metadata)]


def test_a_train() -> None:
    start, frame = reader(origin="tcp://a:1").decode(train(role="reference"))
    series_id = f"{CAMERA}-1"
    assert start == SeriesStart(
        series_id, NOW_S - 1, shape=(2, 3), dtype="uint16", role=Role.REFERENCE, lossy=True
    )
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert not frame.data.flags.writeable
    assert (frame.series_id, frame.image_id, frame.timestamp_s) == (series_id, 0, NOW_S - 1)
    assert (frame.role, frame.origin) == (Role.REFERENCE, "tcp://a:1")


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i4", "u8", "f2", "f4", ">f8"])
def test_types(dtype: str) -> None:
    image = PIXELS.astype(dtype)
    _, frame = reader().decode(train(image))
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert frame.data.dtype == image.dtype.newbyteorder("=")


def test_series_begin_with_another_source_or_a_train_that_goes_back() -> None:
    found = reader()
    steps = [(CAMERA, 5), (CAMERA, 7), (CAMERA, 7), (CAMERA, 2), ("other", 3)]
    events = [found.decode(train(source=source, tid=tid)) for source, tid in steps]
    assert [len(one) for one in events] == [2, 1, 1, 2, 2]
    frames = [one[-1] for one in events if isinstance(one[-1], Frame)]
    assert [frame.image_id for frame in frames] == [0, 2, 2, 0, 0]
    assert frames[-1].series_id == "other-3"
    found.forget()
    assert len(found.decode(train(source="other", tid=4))) == 2


@pytest.mark.parametrize("tid", [0, None])
def test_trains_are_counted_without_a_timing_system(tid: int | None) -> None:
    found = reader()
    frames = [found.decode(train(tid=tid))[-1] for _ in range(3)]
    assert [frame.image_id for frame in frames if isinstance(frame, Frame)] == [0, 1, 2]


def test_channel() -> None:
    found = reader(channel=f"{CAMERA}[other]")
    _, frame = found.decode(train(other=PIXELS + 1))
    assert isinstance(frame, Frame)
    assert frame.data[0, 0] == 2
    with pytest.raises(WireError, match=r"the train has no SPB_EHD.*\[other\]; sources"):
        found.decode(train())


def test_images_of_the_packages_own_simulator() -> None:
    """A detector of 16 modules is many images; one of them can be chosen, if it is one."""
    data, metadata = next(data_generator(detector="AGIPDModule", raw=True, datagen="zeros"))
    (source,) = data
    data[source]["image.first"] = data[source]["image.data"][..., 0]
    message = [bytes(part) for part in karabo_bridge.serialize(data, metadata)]
    with pytest.raises(WireError, match="shape must be that of one image"):
        reader().decode(message)
    start, frame = reader(channel=f"{source}[image.first]").decode(message)
    assert isinstance(start, SeriesStart)
    assert isinstance(frame, Frame)
    assert start.shape == (128, 512)


@pytest.mark.parametrize("channel", ["", "camera", "[key]", "source[]", "source[key"])
def test_channel_of_another_form(channel: str) -> None:
    with pytest.raises(UsageError, match=r"is source\[key\], not"):
        reader(channel=channel)


@given(
    image=hnp.arrays(
        st.sampled_from(["u1", "u2", "u4", "u8", "i1", "<i4", ">u2", ">f4", "f2", "f8"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements={"allow_nan": False},
    ),
    role=st.sampled_from([*Role, None]),
)
def test_round_trip_which_the_package_reads_too(image: Image, role: Role | None) -> None:
    writer, found = encoder("karabo"), reader(origin="here")
    assert writer.encode(SeriesStart("s", NOW_S, role=role)) == ()
    assert writer.encode(SeriesEnd("s")) == ()
    found.decode(writer.encode(Frame("s", 0, image, NOW_S)))
    parts = writer.encode(Frame("s", 3, image, NOW_S + 1.5))
    (frame,) = found.decode(parts)
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, image)
    assert frame.data.dtype == image.dtype.newbyteorder("=")
    assert (frame.series_id, frame.image_id, frame.role) == ("s-1", 3, role)
    assert frame.timestamp_s == NOW_S + 1.5
    data, metadata = karabo_bridge.deserialize([bytes(part) for part in parts])
    np.testing.assert_array_equal(data["s"]["data.image.pixels"], image)
    assert metadata["s"]["timestamp.tid"] == 4


def changed(place: int, **change: object) -> list[bytes]:
    """A train with fields of one header replaced: 0 for the values, 2 for the array."""
    parts = train()
    parts[place] = msgpack.packb(msgpack.unpackb(parts[place]) | change)
    return parts


BAD: list[tuple[list[bytes], str]] = [
    ([], "a message of 0 parts is not 1 to 500 pairs"),
    (train()[:1], "a message of 1 parts"),
    (train()[:3], "a message of 3 parts"),
    (train() * 200, "a message of 1200 parts"),
    ([b"\xc1", *train()[1:]], "a header is no msgpack"),
    ([b"", *train()[1:]], "a header is no msgpack"),
    ([b"\xdf\xff\xff\xff\xff", *train()[1:]], "a header is no msgpack"),
    ([b"\x81" * 50_000, *train()[1:]], "a header is no msgpack"),
    ([b"\x91" * 50_000, *train()[1:]], "a header is no msgpack"),
    ([b"\x90", *train()[1:]], "a header must be a msgpack map"),
    ([bytes((1 << 20) + 1), *train()[1:]], "a header has 1048577 bytes, more than"),
    ([train()[0], b"\x90", *train()[2:]], "the values must be a msgpack map"),
    (train()[4:], "the train has no image; sources: "),
    (changed(0, source=3), "source must be a printable text"),
    (changed(0, content="pickle"), "content must be msgpack or array, not 'pickle'"),
    (changed(0, content=["array"]), "content must be msgpack or array"),
    (changed(0, metadata={"timestamp": "now"}), "timestamp must be a number"),
    (changed(0, metadata={"timestamp.tid": -1}), "timestamp.tid must be a whole number"),
    (changed(0, metadata={"role": "banana"}), "role is 'banana', not one of"),
    (changed(2, source="a\n"), "source must be a printable text"),
    (changed(2, shape=[6]), "the train has no image"),
    (changed(2, shape=None), "the train has no image"),
    (changed(2, shape=[0, 3]), "shape must hold positive"),
    (changed(2, shape=["2", "3"]), "shape must hold positive"),
    (changed(2, shape=[2, 3, 3]), "shape must be that of one image"),
    (changed(2, shape=[10**9, 10**9]), "more than the 1073741824 allowed"),
    (changed(2, shape=[3, 3]), "has 12 bytes, not 18"),
    (changed(2, dtype="O"), "dtype 'O' is not known"),
    (changed(2, dtype="object"), "dtype 'object' is not known"),
    (changed(2, dtype=">c8"), "dtype '>c8' is not known"),
    (changed(2, dtype=["u2"]), "dtype must be a printable text"),
    (changed(2, dtype="uint32"), "has 12 bytes, not 24"),
]


@pytest.mark.parametrize(("parts", "complaint"), BAD)
def test_malformed(parts: list[bytes], complaint: str) -> None:
    """It changes nothing: the next train still begins no new series."""
    found = reader()
    found.decode(train())
    with pytest.raises(WireError, match=complaint):
        found.decode(parts)
    assert len(found.decode(train(tid=TRAIN + 1))) == 1


def test_pickled_objects_of_version_1_are_never_loaded() -> None:
    """What the package itself would do with them."""
    objects = {"nd": True, "type": "O", "kind": b"O", "shape": [1], "data": b"cos\nsystem\n"}
    message = [msgpack.packb({CAMERA: {"image": objects}})]
    with pytest.raises(WireError, match="a message of 1 parts"):
        reader().decode(message)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    for make in (decoder, encoder):
        with pytest.raises(UsageError, match=r"needs msgpack: pip install 'cade-daemon\[karabo\]'"):
            make("karabo")


def test_mutated_messages_only_raise_wire_errors() -> None:
    rng = random.Random(10)
    found = reader(max_bytes=1 << 22)
    refused = 0
    seed = train(role="flat")
    for _ in range(3000):
        message = mutated(
            seed,
            rng,
            msgpack.unpackb,
            lambda value: msgpack.packb(value, unicode_errors="surrogatepass", default=str),
        )
        refused += is_refused(found, message)
    assert 800 < refused < 2950
    assert found.decode(train(tid=TRAIN * 2))
