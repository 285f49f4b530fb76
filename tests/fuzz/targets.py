"""The formats under test, by name.

A new format is one more function in `TARGETS`; one that has no messages of bytes has an adapter.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cade.frames import Beamline, Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import Decoder, decoder, encoder
from cade.wire import Message as Event
from cade.wire.compression import Compression
from cade.wire.ntndarray import NtndArrayEncoder
from cade.wire.options import EncoderOptions
from tests.fuzz.adapters import RECORDING, FieldsOfNtndArray, RecordedStream, packed_fields
from tests.fuzz.images import Drawn
from tests.fuzz.layers import CBOR, JSON, MSGPACK, Tagged
from tests.fuzz.raw import Message
from tests.fuzz.target import LARGE_BYTES, MAX_BYTES, GoodSeries, Target, Variant
from tests.golden import array_1_0, dectris_v1, dectris_v2, karabo, ntndarray, odin, stins

NOW_S = 1_793_620_000.0
_DTYPES = ("u1", "<u2", "<u4", "<u8", "i1", "<i4", ">u2", ">f4", "<f2", "<f4", "<f8")
_RNG = np.random.default_rng(4)
IMAGES: tuple[Image, ...] = tuple(_RNG.poisson(30, (8, 8)).astype("<u2") for _ in range(2))
_TYPED = {
    "|u1": 64, ">u2": 65, ">u4": 66, ">u8": 67, "<u2": 69, "<u4": 70, "<u8": 71, "|i1": 72,
    ">i2": 73, ">i4": 74, ">i8": 75, "<i2": 77, "<i4": 78, "<i8": 79, ">f2": 80, ">f4": 81,
    ">f8": 82, "<f2": 84, "<f4": 85, "<f8": 86,
}  # fmt: skip


def _make(name: str) -> Callable[[Mapping[str, Any]], Decoder]:
    def make(options: Mapping[str, Any]) -> Decoder:
        return decoder(name, **{"max_bytes": MAX_BYTES, "clock": lambda: NOW_S, **options})

    return make


def _encoded(
    name: str,
    source: str,
    images: tuple[Image, ...] = IMAGES,
    role: Role | None = Role.FLAT,
    compression: Compression | None = None,
) -> tuple[Message, ...]:
    """A series by our own encoder; formats without start and end send only images."""
    writer = encoder(name, compression=compression)
    beamline = Beamline(3e4, 1e-5, 2.0, None, 0.5)
    height, width = images[0].shape
    dtype = images[0].dtype.newbyteorder("=").name
    events: list[Event] = [
        SeriesStart(source, NOW_S - 9, len(images), (height, width), dtype, role, beamline),
        *(Frame(source, n, image, NOW_S - 8 + n) for n, image in enumerate(images)),
        SeriesEnd(source),
    ]
    messages = [[bytes(part) for part in writer.encode(event)] for event in events]
    return tuple(message for message in messages if message)


def _seeds(name: str, compressions: tuple[Compression | None, ...]) -> list[Message]:
    """Every number type, compression and role, by our own encoder."""
    found: list[Message] = []
    for compression in compressions:
        for dtype in _DTYPES:
            images = (IMAGES[0].astype(dtype), IMAGES[1].astype(dtype))
            found += _encoded(name, "a", images, compression=compression)
    for role in (*Role, None):
        found += _encoded(name, "b", IMAGES[:1], role)
    return found


def _encoded_good(name: str, role: Role | None = Role.FLAT) -> GoodSeries:
    return GoodSeries(_encoded(name, "good-b", role=role), IMAGES, role)


def _dectris_v2() -> Target:
    name = "dectris-v2"
    good = GoodSeries(tuple(dectris_v2.series("good-a", IMAGES, "dark")), IMAGES, Role.DARK)
    second = GoodSeries(good.messages, tuple(~image for image in IMAGES), Role.DARK)
    both = (good, _encoded_good(name))
    any_role = tuple(GoodSeries(one.messages, one.images, None) for one in both)

    def place(parts: list[Any], image: Drawn, rng: random.Random) -> None:
        content: Any = image.blob
        if image.algorithm is not None:
            content = Tagged(56500, [image.algorithm, image.element_size, image.blob])
        tag = _TYPED[image.dtype.str] if rng.random() < 0.9 else rng.choice([68, 76, 83, 87])
        if tag in (83, 87) and image.shape[0] * image.shape[1] <= 4096:
            content = rng.randbytes(16 * image.shape[0] * image.shape[1])
        array = Tagged(rng.choice([40, 40, 1040]), [list(image.shape), Tagged(tag, content)])
        key = rng.choice(["data", "data", "data", "flatfield", "pixel_mask"])
        parts[0][key] = {rng.choice(["threshold_1", "threshold_1", "threshold_2", "x"]): array}

    variants = (
        Variant({}, both),
        Variant({"calibration": True}, both),
        Variant({"max_bytes": LARGE_BYTES}, both),
        Variant({"channel": "threshold_1"}, both),
        Variant({"channel": "threshold_2", "calibration": True}, (second,)),
        Variant({"role_key": "kind"}, any_role),
        Variant({"max_bytes": 4096}, both),
    )
    golden = [
        message
        for algorithm in ("bslz4", "lz4", None)
        for message in dectris_v2.series("golden", IMAGES, "sample", algorithm)
    ]
    seeds = (*golden, *_written_otherwise(golden), *_seeds(name, (None, "bslz4", "lz4")))
    algorithms = (None, "bslz4", "lz4", "zstd")
    return Target(name, _make(name), CBOR, "tags", variants, seeds, algorithms, False, place)


def _written_otherwise(messages: Sequence[Message]) -> list[Message]:
    """The same in other words of CBOR: shortest numbers, indefinite lengths, texts in chunks."""
    found: list[Message] = []
    for (message,) in messages[:3]:
        tree = CBOR.load(message)
        found.append([CBOR.dump(tree, canonical=True)])
        found.append([CBOR.dump(tree, indefinite=True)])
        found.append([message.replace(b"iseries_id", b"\x7fcserfies_id\xff")])
        found.append([message.replace(b"\x58\x80", b"\x5f\x58\x80") + b"\xff"])
    return found


def _dectris_v1() -> Target:
    name = "dectris-v1"
    good = GoodSeries(tuple(dectris_v1.series(9, IMAGES, "dark")), IMAGES, Role.DARK)
    both = (good, _encoded_good(name))

    def place(parts: list[Any], image: Drawn, rng: random.Random) -> None:
        if len(parts) < 4 or not isinstance(parts[1], dict):
            return
        bits = 8 * image.element_size if image.algorithm == "bslz4" else 0
        packed = f"bs{bits}-lz4" if bits else image.algorithm or ""
        at = rng.choice([1, 1, 1, 2, 4]) if len(parts) > 5 else 1
        if not isinstance(parts[at], dict):
            return
        parts[at] |= {
            "shape": list(image.shape[::-1]),
            "type": image.dtype.name,
            "encoding": packed + (">" if image.dtype.str[0] == ">" else "<"),
            "size": len(image.blob),
        }
        parts[at + 1] = image.blob

    variants = (
        Variant({}, both),
        Variant({"calibration": True, "max_bytes": LARGE_BYTES}, both),
        Variant({"role_key": "kind"}, tuple(GoodSeries(g.messages, IMAGES, None) for g in both)),
        Variant({"max_bytes": 2048}, both),
    )
    golden = [
        message
        for algorithm in ("bslz4", "lz4", None)
        for message in dectris_v1.series(17, IMAGES, "sample", algorithm)
    ]
    none = [b'{"header_detail":"none","htype":"dheader-1.0","series":17}']
    many = [golden[0][1].replace(b'"ntrigger":1', b'"ntrigger":%d' % 2**62)]
    golden += [[golden[0][0], *many, *golden[0][2:]], [*none, bytes((1 << 20) + 1)]]
    seeds = (*golden, none, [*none, b"sample"], *_seeds(name, (None, "bslz4", "lz4")))
    return Target(
        name, _make(name), JSON, "text", variants, seeds, (None, "bslz4", "lz4"), True, place
    )


def _array_1_0() -> Target:
    name = "array-1.0"
    both = (
        GoodSeries(tuple(array_1_0.series("good-a", IMAGES)), IMAGES, None),
        _encoded_good(name),
    )
    adzmq = tuple(
        tuple(array_1_0.adzmq(one, n, "dark", old=old) for n, one in enumerate(IMAGES))
        for old in (True, False)
    )
    no_role = tuple(GoodSeries(one.messages, one.images, None) for one in both)

    def place(parts: list[Any], image: Drawn, rng: random.Random) -> None:
        old = isinstance(parts[0].get("htype"), list)
        parts[0] |= {
            "shape": list(image.shape[::-1] if old else image.shape),
            "type": image.dtype.name,
            "endianness": "big" if image.dtype.str[0] == ">" else "little",
        }
        parts[1:] = [image.blob]

    variants = (
        Variant({}, (*both, *(GoodSeries(one, IMAGES, Role.DARK, forget=True) for one in adzmq))),
        Variant({"role_key": "kind", "max_bytes": LARGE_BYTES}, no_role),
        Variant({"max_bytes": 1024}, both),
    )
    seeds = (*adzmq[0], *adzmq[1], *array_1_0.series("golden", IMAGES), *_seeds(name, (None,)))
    return Target(name, _make(name), JSON, "text", variants, seeds, (None,), False, place)


def _odin() -> Target:
    name = "odin"
    both = (
        GoodSeries(tuple(odin.series("good-a", IMAGES)), IMAGES, None),
        _encoded_good(name),
    )

    def place(parts: list[Any], image: Drawn, rng: random.Random) -> None:
        parts[0] |= {
            "shape": [str(size) for size in image.shape],
            "dtype": "float" if image.dtype.name == "float32" else image.dtype.name,
            "compression": "none" if image.algorithm is None else image.algorithm.upper(),
            "dsize": len(image.blob),
        }
        parts[1:] = [image.blob]

    variants = (
        Variant({}, both),
        Variant({"channel": "data", "max_bytes": LARGE_BYTES}, both),
        Variant({"role_key": "kind"}, tuple(GoodSeries(g.messages, IMAGES, None) for g in both)),
        Variant({"max_bytes": 1024}, both),
    )
    golden = [
        message
        for algorithm in ("bslz4", "lz4", None)
        for message in odin.series("golden", IMAGES, algorithm)
    ]
    other = [golden[0][0].replace(b'"data"', b'"other"'), golden[0][1]]
    seeds = (*golden, other, *_seeds(name, (None, "bslz4", "lz4")))
    return Target(
        name, _make(name), JSON, "text", variants, seeds, (None, "bslz4", "lz4"), True, place
    )


def _karabo() -> Target:
    name = "karabo"
    golden = GoodSeries(tuple(karabo.series("good-a", IMAGES, "dark")), IMAGES, Role.DARK)
    both = (golden, _encoded_good(name))
    camera = tuple(karabo.series("CAM:output", IMAGES, "dark"))
    chosen = GoodSeries(camera, IMAGES, Role.DARK, forget=True)

    def place(parts: list[Any], image: Drawn, rng: random.Random) -> None:
        for at, part in enumerate(parts[:-1]):
            if isinstance(part, dict) and part.get("content") == "array":
                dtype = image.dtype.str if rng.random() < 0.5 else image.dtype.name
                parts[at] = part | {"shape": list(image.shape), "dtype": dtype}
                parts[at + 1] = image.blob
                return

    variants = (
        Variant({}, both),
        Variant({"channel": f"CAM:output[{karabo.PATH}]"}, (chosen,)),
        Variant({"role_key": "kind"}, tuple(GoodSeries(g.messages, IMAGES, None) for g in both)),
        Variant({"max_bytes": 2048}, both),
    )
    packages = [
        karabo.train(one.astype(dtype), karabo.TRAIN, source, "sample")
        for one, dtype in zip(IMAGES, (">u2", "f4"), strict=True)
        for source in ("CAM:output", "CAM:other")
    ]
    seeds = (*packages, *_seeds(name, (None,)))
    return Target(name, _make(name), MSGPACK, "bytes", variants, seeds, (None,), False, place)


def _stins() -> Target:
    name = "stins"
    golden = GoodSeries(tuple(stins.series("/data/a.h5", IMAGES, "dark")), IMAGES, Role.DARK)
    both = (golden, _encoded_good(name))

    def place(parts: list[Any], image: Drawn, rng: random.Random) -> None:
        channels = rng.choice([1, 1, 1, 2, 8])
        shape = list(image.shape)
        parts[0] |= {
            "shape": [channels, *shape] if channels > 1 else shape,
            "type": image.dtype.name,
            "compression": image.algorithm or "none",
        }
        parts[1:] = [image.blob] * (channels if rng.random() < 0.9 else 3)

    variants = (
        Variant({}, both),
        Variant({"channel": "1", "max_bytes": LARGE_BYTES}, both),
        Variant({"role_key": "kind"}, tuple(GoodSeries(g.messages, IMAGES, None) for g in both)),
        Variant({"max_bytes": 1024}, both),
    )
    plain = stins.series("", IMAGES, "sample", None)
    bare = [plain[0][:1]]  # without metadata
    seeds = (*golden.messages, *plain, *bare, *_seeds(name, (None, "bslz4")))
    return Target(name, _make(name), JSON, "text", variants, seeds, (None, "bslz4"), True, place)


def _ntndarray() -> Target:
    name = "ntndarray"
    good = tuple(
        GoodSeries(
            tuple(packed_fields(one) for one in ntndarray.series(IMAGES, "dark", algorithm)),
            IMAGES, Role.DARK, forget=True,
        )
        for algorithm in (None, "bslz4", "lz4")
    )  # fmt: skip

    def place(parts: list[Any], image: Drawn, rng: random.Random) -> None:
        algorithm = image.algorithm or ""
        tag = 64 if algorithm else _TYPED[image.dtype.newbyteorder("<").str]
        size = image.shape[0] * image.shape[1] * image.dtype.itemsize
        parts[0] |= {
            "value": Tagged(tag, image.blob),
            "codec": {"name": algorithm, "parameters": rng.randrange(12)},
            "compressedSize": len(image.blob),
            "uncompressedSize": rng.choice([0, size]),
            "dimension": [{"size": n, "offset": 0, "binning": 1} for n in image.shape[::-1]],
        }

    base = {"max_bytes": MAX_BYTES, "clock": lambda: NOW_S}
    variants = (
        Variant(base, good),
        Variant({**base, "detector": "pco", "exposure_key": "AcquireTime"}, good),
        Variant({**base, "max_bytes": 1024}, good),
    )
    writer = NtndArrayEncoder(EncoderOptions(compression="bslz4"))
    writer.encode(SeriesStart("a", NOW_S, role=Role.FLAT, beamline=Beamline(exposure_s=0.1)))
    own = [writer.encode(Frame("a", n, image, NOW_S)) for n, image in enumerate(IMAGES)]
    seeds = (
        *(message for one in good for message in one.messages),
        *(packed_fields(one | {"value": one["value"][1]}) for one in own),
    )
    algorithms = (None, "bslz4", "lz4", "lz4hdf5", "jpeg")
    return Target(name, FieldsOfNtndArray, CBOR, "tags", variants, seeds, algorithms, True, place)


def _recording() -> Target:
    name = "recording"
    header = {"socket": "pull", "endpoint": "tcp://a:1", "wire_format": "array-1.0"}

    def file(source: str, count: int = len(IMAGES)) -> Message:
        stream = array_1_0.series(source, IMAGES[:count])
        messages = [{"time": NOW_S, "parts": parts} for parts in stream]
        tree = {"header": {**header, "start_time_s": NOW_S}, "messages": messages}
        return [RECORDING.dump(tree)]

    def place(parts: list[Any], image: Drawn, rng: random.Random) -> None:
        parts[0]["messages"] = [{"time": NOW_S, "parts": [image.blob, b"", image.blob[:9]]}]

    base = {"max_bytes": MAX_BYTES, "clock": lambda: NOW_S}
    good = tuple(GoodSeries((file(name),), IMAGES, None) for name in ("good-a", "good-b"))
    variants = (Variant(base, good),)
    seeds = (file("a"), file("b", 1), file("b", 0))
    return Target(
        name, RecordedStream, RECORDING, "text", variants, seeds, (None,), False, place,
        outer=r"is no recording|message ~ is damaged",
    )  # fmt: skip


TARGETS: dict[str, Callable[[], Target]] = {
    "dectris-v2": functools.cache(_dectris_v2),
    "dectris-v1": functools.cache(_dectris_v1),
    "array-1.0": functools.cache(_array_1_0),
    "odin": functools.cache(_odin),
    "karabo": functools.cache(_karabo),
    "stins": functools.cache(_stins),
    "ntndarray": functools.cache(_ntndarray),
    "recording": functools.cache(_recording),
}
