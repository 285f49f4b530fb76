"""DECTRIS SIMPLON V1: messages in the words of its manual, round trips, malformed and mutated."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import bitshuffle
import h5py
import hdf5plugin
import lz4.block
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

HEADER: dict[str, Any] = {"header_detail": "basic", "htype": "dheader-1.0", "series": 17}
CONFIG: dict[str, Any] = {
    "auto_summation": True,
    "bit_depth_image": 16,
    "compression": "bslz4",
    "count_time": 0.1,
    "countrate_correction_count_cutoff": 4095,
    "data_collection_date": "2026-11-02T11:00:00.000",
    "detector_distance": 0.25,
    "nimages": 5,
    "ntrigger": 2,
    "photon_energy": 12_658.0,
    "x_pixel_size": 75e-6,
    "x_pixels_in_detector": 3,
    "y_pixel_size": 75e-6,
    "y_pixels_in_detector": 2,
}
CALIBRATION = [
    b'{"htype":"dflatfield-1.0","shape":[3,2],"type":"float32"}',
    PIXELS.astype("<f4").tobytes(),
    b'{"htype":"dpixelmask-1.0","shape":[3, 2],"type":"uint32"}',
    PIXELS.astype("<u4").tobytes(),
    b'{"htype":"dcountrate_table-1.0","shape":[2,2],"type":"float32"}',
    bytes(16),
]
IMAGE: dict[str, Any] = {"frame": 4, "hash": "fc67f000", "htype": "dimage-1.0", "series": 17}
DESCRIPTION: dict[str, Any] = {
    "encoding": "<", "htype": "dimage_d-1.0", "shape": [3, 2], "size": 12, "type": "uint16",
}  # fmt: skip
TIMES: dict[str, Any] = {
    "htype": "dconfig-1.0", "real_time": 100_000_000, "start_time": 2_500_000_000,
    "stop_time": 2_600_000_000,
}  # fmt: skip
END = [b'{"htype":"dseries_end-1.0","series":17}']


def dumps(value: object) -> bytes:
    return json.dumps(value).encode()


def start_message(detail: str = "basic", *appendix: bytes, **change: object) -> list[bytes]:
    parts = [dumps(HEADER | {"header_detail": detail})]
    if detail != "none":
        parts.append(dumps(CONFIG | change))
    return [*parts, *(CALIBRATION if detail == "all" else ()), *appendix]


def image_message(
    blob: bytes = RAW,
    *appendix: bytes,
    image: object = None,
    times: object = None,
    **change: object,
) -> list[bytes]:
    description = dumps(DESCRIPTION | change)
    return [dumps(image or IMAGE), description, blob, dumps(times or TIMES), *appendix]


def reader(now_s: float = NOW_S, **options: Any) -> Decoder:
    return decoder("dectris-v1", clock=lambda: now_s, **options)


def decode(parts: list[bytes], found: Decoder | None = None) -> Any:
    (event,) = (found or reader()).decode(parts)
    return event


@pytest.mark.parametrize("detail", ["basic", "all"])
def test_start(detail: str) -> None:
    assert decode(start_message(detail)) == SeriesStart(
        series_id="17",
        start_time_s=NOW_S,
        image_count=10,
        beamline=Beamline(energy_ev=12_658.0, pixel_size_m=75e-6, distance_m=0.25, exposure_s=0.1),
    )


def test_start_without_configuration() -> None:
    assert decode(start_message("none")) == SeriesStart("17", NOW_S)


def test_unknown_quantities_are_none() -> None:
    start = decode(start_message(photon_energy=0, nimages=0, detector_distance=None))
    assert (start.image_count, start.beamline.energy_ev, start.beamline.distance_m) == (None,) * 3
    assert decode(start_message(y_pixel_size=150e-6)).beamline.pixel_size_m is None
    assert decode(start_message(count_time=None)).beamline.exposure_s is None
    only = [dumps(HEADER), dumps({"nimages": 7})]
    assert decode(only).image_count == 7


@pytest.mark.parametrize("detail", ["none", "basic", "all"])
@pytest.mark.parametrize(
    ("appendix", "role"),
    [
        (b'{"role": "reference", "run": 3}', Role.REFERENCE),
        (b'"flat"', Role.FLAT),
        (b" Dark\n", Role.DARK),
        (b'{"acqID":"test_acq_id"}', None),
        (b"any text of the user's", None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_role_in_the_appendix(detail: str, appendix: bytes, role: Role | None) -> None:
    found = reader()
    assert decode(start_message(detail, appendix), found).role == role
    assert decode(image_message(), found).role == role
    assert decode(image_message(RAW, b"sample"), found).role == Role.SAMPLE


def test_role_key() -> None:
    found = reader(role_key="kind")
    assert decode(start_message("basic", b'{"kind":"dark","role":"flat"}'), found).role == Role.DARK


def test_image_after_start() -> None:
    found = decoder("dectris-v1", origin="tcp://a:9999", clock=iter([NOW_S, NOW_S + 9]).__next__)
    decode(start_message(), found)
    frame = decode(image_message(), found)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert frame.data.dtype == np.uint16
    assert not frame.data.flags.writeable
    assert (frame.series_id, frame.image_id, frame.origin) == ("17", 4, "tcp://a:9999")
    assert frame.timestamp_s == NOW_S + 2.5
    assert (frame.role, frame.saturation_value) == (None, 4095.0)


def test_image_is_never_of_the_future() -> None:
    """Whatever its clock counts from: a simulator sends nanoseconds since 1970."""
    found = reader()
    decode(start_message(), found)
    times = TIMES | {"start_time": int(NOW_S * 1e9)}
    assert decode(image_message(times=times), found).timestamp_s == NOW_S


def test_image_of_another_series_inherits_nothing() -> None:
    found = reader()
    decode(start_message("basic", b"flat"), found)
    frame = decode(image_message(image=IMAGE | {"series": 18}), found)
    assert (frame.series_id, frame.role, frame.saturation_value) == ("18", None, None)
    found.forget()
    assert decode(image_message(), found).role is None


def test_end() -> None:
    assert decode(END) == SeriesEnd("17")


@pytest.mark.parametrize("applied", [True, False])
def test_whether_the_detector_has_applied_its_flat_field(applied: bool) -> None:
    assert not decode(start_message()).flatfield_applied
    start = decode(start_message(flatfield_correction_applied=applied))
    assert start.flatfield_applied is applied


def test_monitor_in_the_appendix_of_an_image() -> None:
    assert decode(image_message(RAW, b'{"monitor": 1.5}')).monitor == 1.5
    assert decode(image_message(RAW, b"sample")).monitor is None
    assert decode(image_message()).monitor is None


def test_calibration_only_where_it_is_asked_for() -> None:
    start = decode(start_message("all"), reader(calibration=True))
    np.testing.assert_array_equal(start.flatfield, PIXELS)
    np.testing.assert_array_equal(start.pixel_mask, PIXELS)
    assert start.flatfield.dtype == np.float32
    assert decode(start_message("all")).flatfield is None
    assert decode(start_message("basic"), reader(calibration=True)).pixel_mask is None
    # eigersim, ALBA's simulator, has texts in place of the images
    placeholder = start_message("all")
    placeholder[3] = b"flatfield-data-blob-here"
    assert decode(placeholder).pixel_mask is None
    with pytest.raises(WireError, match="has 24 bytes"):
        decode([*placeholder[:2], placeholder[2].replace(b"3,2", b"9,9"), *placeholder[3:]],
               reader(calibration=True))  # fmt: skip
    placeholder[2] = b'{"htype":"flatfield-1.0","shape":[3,2],"type":"float32"}'
    with pytest.raises(WireError, match=r"htype must be dflatfield-1\.0"):
        decode(placeholder, reader(calibration=True))


LARGE = np.random.default_rng(3).poisson(20, (100, 130))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_hdf5_chunk_as_an_image(dtype: str, tmp_path: Path) -> None:
    """A chunk that HDF5 compressed is what bsNN-lz4< holds."""
    image = LARGE.astype(dtype)
    plugin = hdf5plugin.Bitshuffle(cname="lz4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("a", data=image, chunks=image.shape, compression=plugin)
        chunk = bytes(stored.id.read_direct_chunk((0, 0))[1])
    encoding = f"bs{8 * image.itemsize}-lz4<"
    message = image_message(chunk, encoding=encoding, type=dtype, shape=[130, 100])
    frame = decode(message)
    np.testing.assert_array_equal(frame.data, image)
    assert frame.data.dtype == dtype


def test_encodings_that_the_packages_make() -> None:
    """`lz4<` has no header; bits are shuffled in elements of the stated size."""
    image = LARGE.astype("<u4")
    words = LARGE.astype("<u4").view("<u2")
    header = image.nbytes.to_bytes(8, "big") + (8192).to_bytes(4, "big")
    for encoding, blob in {
        "lz4<": lz4.block.compress(image.tobytes(), store_size=False),
        "bs32-lz4<": header + bitshuffle.compress_lz4(image).tobytes(),
        "bs16-lz4<": header + bitshuffle.compress_lz4(words).tobytes(),
        "<": image.tobytes(),
        ">": image.astype(">u4").tobytes(),
        "lz4>": lz4.block.compress(image.astype(">u4").tobytes(), store_size=False),
    }.items():
        message = image_message(blob, encoding=encoding, type="uint32", shape=[130, 100])
        np.testing.assert_array_equal(decode(message).data, image)


@given(
    image=hnp.arrays(
        st.sampled_from(["u1", "u2", "u4", "<i4", ">u2", ">u4", "f4"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements={"allow_nan": False},
    ),
    image_id=st.integers(0, 2**63 - 1),
    role=st.sampled_from([*Role, None]),
    compression=st.sampled_from(["bslz4", "lz4", None]),
    count=st.none() | st.integers(1, 2**40),
)
def test_round_trip(
    image: Image,
    image_id: int,
    role: Role | None,
    compression: Compression | None,
    count: int | None,
) -> None:
    writer = encoder("dectris-v1", compression=compression, saturation_value=99)
    found = reader(NOW_S + 9, origin="here")
    beamline = Beamline(energy_ev=3e4, pixel_size_m=1e-5, distance_m=2.0, exposure_s=0.5)
    (start,) = found.decode(
        writer.encode(SeriesStart("any", NOW_S, count, image.shape, None, role, beamline))
    )
    assert start == SeriesStart("1", NOW_S + 9, count, role=role, beamline=beamline)
    (frame,) = found.decode(writer.encode(Frame("any", image_id, image, NOW_S + 1.25)))
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, image)
    assert frame.data.dtype == image.dtype.newbyteorder("=")
    assert (frame.series_id, frame.image_id, frame.role) == ("1", image_id, role)
    assert (frame.saturation_value, frame.origin) == (99.0, "here")
    assert found.decode(writer.encode(SeriesEnd("any"))) == (SeriesEnd("1"),)


BAD: list[tuple[list[bytes], str]] = [
    ([], "has 0 parts"),
    ([b"{}"] * 10, "has 10 parts"),
    ([b"{}"], r"htype must be dheader-1\.0, dimage-1\.0 or dseries_end-1\.0, not None"),
    ([b'{"htype":"dimage-2.0"}'], "htype must be"),
    ([b'{"htype":["dimage-1.0"]}'], "htype must be"),
    ([b"[]"], "must be a JSON object"),
    ([b"\x80\x04"], "is no JSON"),
    ([b" " * (1 << 20) + b"{}"], "the header has 1048578 bytes, more than"),
    ([*END, b""], "has 2 parts, not 1"),
    ([b'{"htype":"dseries_end-1.0"}'], "series must be a whole number"),
    (start_message("some"), "header_detail must be all, basic or none, not 'some'"),
    ([dumps(HEADER | {"header_detail": ["all"]})], "header_detail must be"),
    (start_message("basic")[:1], "has 1 parts, not 2 or 3"),
    (start_message("all")[:7], "has 7 parts, not 8 or 9"),
    (start_message("none", b"", b""), "has 3 parts, not 1 or 2"),
    (start_message("basic", bytes((1 << 20) + 1)), "the appendix has 1048577 bytes"),
    (start_message("basic", b'{"role":"banana"}'), "is 'banana', not one of"),
    (start_message(nimages=-1), "nimages must be a whole number"),
    (start_message(ntrigger="2"), "ntrigger must be a whole number"),
    (start_message(photon_energy="12 keV"), "photon_energy must be a number"),
    (start_message(count_time=float("inf")), "count_time must be a finite number"),
    (image_message()[:3], "has 3 parts, not 4 or 5"),
    (image_message(RAW, b"", b""), "has 6 parts, not 4 or 5"),
    (image_message(image=IMAGE | {"frame": -1}), "frame must be a whole number"),
    (image_message(image=IMAGE | {"series": "17"}), "series must be a whole number"),
    (image_message(times={"htype": "other"}), r"htype must be dconfig-1\.0"),
    (image_message(times=TIMES | {"start_time": -1}), "start_time must be a whole number"),
    (image_message(RAW, b'{"role":1}'), "is 1, not one of"),
    (image_message(htype="dimage-1.0"), r"htype must be dimage_d-1\.0"),
    (image_message(shape=[3]), "shape must be that of one image"),
    (image_message(shape=[3, 2, 2]), "shape must be that of one image"),
    (image_message(shape="32"), "shape must be a list"),
    (image_message(shape=[0, 2]), "shape must hold positive"),
    (image_message(shape=[10**9, 10**9]), "more than the 1073741824 allowed"),
    (image_message(shape=[2, 2]), "has 12 bytes, not 8"),
    (image_message(type="uint32"), "has 12 bytes, not 24"),
    (image_message(type="O"), "type 'O' is not known"),
    (image_message(RAW[:-1]), "has 11 bytes, not 12"),
    (image_message(encoding=None), "encoding must be a printable text"),
    (image_message(encoding=""), "encoding '' is none of"),
    (image_message(encoding="bs16<"), "encoding 'bs16<' is none of"),
    (image_message(encoding="bs12-lz4<"), "encoding 'bs12-lz4<' is none of"),
    (image_message(encoding="zstd<"), "encoding 'zstd<' is none of"),
    (image_message(encoding="lz4<"), "lz4: "),
    (image_message(encoding="bs16-lz4<", shape=[4, 4]), "bslz4: "),
    (image_message(encoding="lz4<", shape=[8000, 8000]), "cannot hold 128000000"),
]


@pytest.mark.parametrize(("parts", "complaint"), BAD)
def test_malformed(parts: list[bytes], complaint: str) -> None:
    """It changes nothing: images still get what the header before it said."""
    found = reader()
    decode(start_message("basic", b"dark"), found)
    with pytest.raises(WireError, match=complaint) as caught:
        found.decode(parts)
    known = len(parts) > 2 and parts[0] == dumps(IMAGE)
    assert caught.value.image_id == (4 if known else -1)
    assert decode(image_message(), found).role == Role.DARK


def test_size_limit() -> None:
    parts = image_message()
    size = sum(map(len, parts))
    assert reader(max_bytes=size).decode(parts)
    with pytest.raises(WireError, match=f"has {size} bytes, more than the {size - 1} allowed"):
        reader(max_bytes=size - 1).decode(parts)
    black = np.zeros((300, 300), "u2")
    packed = encoder("dectris-v1", compression="lz4").encode(Frame("a", 0, black, 0.0))
    assert reader(max_bytes=180_000).decode(packed)
    with pytest.raises(WireError, match="has 180000 bytes, more than the 179999 allowed"):
        reader(max_bytes=179_999).decode(packed)


def test_mutated_messages_only_raise_wire_errors() -> None:
    rng = random.Random(7)
    found = reader(max_bytes=1 << 22, calibration=True)
    writer = encoder("dectris-v1", compression="bslz4")
    packed = [bytes(part) for part in writer.encode(Frame("a", 1, LARGE.astype("u2"), 0.0))]
    seeds = [
        start_message("all", b'{"role":"flat"}'), start_message(), END, image_message(), packed,
        image_message(RAW, b"dark"),
    ]  # fmt: skip
    refused = sum(is_refused(found, mutated(rng.choice(seeds), rng)) for _ in range(3000))
    assert 1000 < refused < 2950
    assert decode(packed, found).image_id == 1
