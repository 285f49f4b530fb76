"""Compressed images, against the HDF5 filters and against hostile bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import bitshuffle
import h5py
import hdf5plugin
import lz4.block
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cade.frames import Image
from cade.wire import WireError
from cade.wire.compression import (
    COMPRESSIONS,
    MAX_BLOCKS,
    Compression,
    compress,
    compress_bare,
    decompress,
    decompress_any,
)

RNG = np.random.default_rng(2)
HEADER = struct.Struct(">QI")


def decoded(payload: bytes, algorithm: str, image: Image) -> Image:
    data = decompress(memoryview(payload), algorithm, image.dtype.itemsize, image.nbytes)
    return data.view(image.dtype).reshape(image.shape)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "f4"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 64), (129, 257)])
@pytest.mark.parametrize("algorithm", COMPRESSIONS)
def test_hdf5_chunk_decodes(
    algorithm: str, shape: tuple[int, int], dtype: str, tmp_path: Path
) -> None:
    """The framing is that of the HDF5 filters: a chunk made by HDF5 decodes."""
    image = RNG.poisson(30, shape).astype(dtype)
    plugin = hdf5plugin.Bitshuffle(cname="lz4") if algorithm == "bslz4" else hdf5plugin.LZ4()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("a", data=image, chunks=shape, compression=plugin)
        mask, payload = stored.id.read_direct_chunk((0, 0))
    assert mask == 0
    np.testing.assert_array_equal(decoded(bytes(payload), algorithm, image), image)


@given(
    image=hnp.arrays(
        st.sampled_from(["u1", "u2", "u4", "u8", "i2", "f2", "f4", "f8"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
    ),
    algorithm=st.sampled_from(COMPRESSIONS),
)
def test_round_trip(image: Image, algorithm: Compression) -> None:
    assert decoded(compress(image, algorithm), algorithm, image).tobytes() == image.tobytes()


@pytest.mark.parametrize("algorithm", COMPRESSIONS)
def test_larger_than_a_block(algorithm: Compression) -> None:
    image = RNG.poisson(30, (100, 1001)).astype("u2")
    np.testing.assert_array_equal(decoded(compress(image, algorithm), algorithm, image), image)


@given(
    image=hnp.arrays(
        st.sampled_from(["u1", "u2", "u4", "f8"]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=90),
    ),
    algorithm=st.sampled_from(COMPRESSIONS),
    framed=st.booleans(),
)
def test_with_and_without_header(image: Image, algorithm: Compression, framed: bool) -> None:
    payload = memoryview((compress if framed else compress_bare)(image, algorithm))
    data = decompress_any(payload, algorithm, image.dtype.itemsize, image.nbytes)
    assert data.tobytes() == image.tobytes()


def test_what_the_packages_make_without_header() -> None:
    image = RNG.poisson(30, (100, 1001)).astype("u2")
    for algorithm, packed in (
        ("bslz4", bitshuffle.compress_lz4(image).tobytes()),
        ("lz4", lz4.block.compress(image.tobytes(), store_size=False)),
    ):
        data = decompress_any(memoryview(packed), algorithm, 2, image.nbytes)
        assert data.tobytes() == image.tobytes()


@pytest.mark.parametrize("algorithm", COMPRESSIONS)
@pytest.mark.parametrize(
    ("payload", "size", "complaint"),
    [
        (b"", 100, "too few for the header|cannot hold 100"),
        (b"\xff" * 40, 400, "beyond the end|does not decompress"),
        (b"\x10\x41" * 20, 1 << 40, "cannot hold 1099511627776"),
        (bytes(4) + b"\xff" * 40, 400, "declares 4294967295 bytes"),
        (b"\x10\x41" * 20, 5000, "beyond the end|decompress|bytes, not 5000"),
    ],
)
def test_hostile_bytes_without_header(
    algorithm: Compression, payload: bytes, size: int, complaint: str
) -> None:
    with pytest.raises(WireError, match=complaint):
        decompress_any(memoryview(payload), algorithm, 2, size)


def test_one_block_has_a_largest_size() -> None:
    payload = memoryview(bytes(1 << 23))[4:]
    with pytest.raises(WireError, match="are too many for one block"):
        decompress_any(memoryview(b"\1\1\1\1" + payload), "lz4", 1, 0x7E000001)


IMAGE = np.repeat(np.arange(64, dtype="u2"), 200).reshape(64, 200)
INCOMPRESSIBLE = np.frombuffer(RNG.bytes(IMAGE.nbytes), "u2").reshape(IMAGE.shape)


@pytest.mark.parametrize("algorithm", COMPRESSIONS)
@pytest.mark.parametrize("image", [IMAGE, INCOMPRESSIBLE])
def test_truncated(algorithm: Compression, image: Image) -> None:
    whole = compress(image, algorithm)
    for length in (0, 11, 12, 14, 16, len(whole) // 2, len(whole) - 1):
        with pytest.raises(WireError):
            decoded(whole[:length], algorithm, image)


@pytest.mark.parametrize("algorithm", COMPRESSIONS)
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda data: data + b"\0", "end with the last block|after the last block"),
        (lambda data: HEADER.pack(IMAGE.nbytes + 2, 8192) + data[12:], "declares 25602 bytes"),
        (lambda data: HEADER.pack(2**63, 8192) + data[12:], "declares 9223372036854775808 bytes"),
        (lambda data: HEADER.pack(IMAGE.nbytes, 0) + data[12:], "too small"),
        (lambda data: HEADER.pack(IMAGE.nbytes, 4096) + data[12:], "bslz4|lz4"),
        (lambda data: HEADER.pack(IMAGE.nbytes, 2**32 - 16) + data[12:], "bslz4|lz4"),
        (lambda data: data[:12] + b"\xff\xff\xff\xff" + data[16:], "beyond the end"),
        (lambda data: data[:12] + b"\x00\x00\x00\x00" + data[16:], "beyond the end"),
        (lambda data: data[:16] + b"\xff" * 44 + data[60:], "bslz4|lz4"),
    ],
)
def test_blocks_that_do_not_fit(algorithm: Compression, change: object, complaint: str) -> None:
    assert callable(change)
    with pytest.raises(WireError, match=complaint):
        decoded(change(compress(IMAGE, algorithm)), algorithm, IMAGE)


def test_lz4_block_that_is_too_short() -> None:
    small = compress(IMAGE[:1], "lz4")
    with pytest.raises(WireError, match="a block has 400 bytes, not 402"):
        decompress(memoryview(HEADER.pack(402, 8192) + small[12:]), "lz4", 2, 402)


@pytest.mark.parametrize("element", [0, -2, 3, 16, 2**70])
def test_wrong_element_size(element: int) -> None:
    payload = memoryview(compress(IMAGE, "bslz4"))
    with pytest.raises(WireError, match="no elements of"):
        decompress(payload, "bslz4", element, IMAGE.nbytes)


@pytest.mark.parametrize("block", [4, 12, 24])
def test_wrong_bslz4_block_size(block: int) -> None:
    payload = HEADER.pack(IMAGE.nbytes, block) + compress(IMAGE, "bslz4")[12:]
    with pytest.raises(WireError, match="no multiple of 8 elements"):
        decoded(payload, "bslz4", IMAGE)


def test_unknown_algorithm() -> None:
    with pytest.raises(WireError, match="'zip' is not known; known are bslz4 and lz4"):
        decompress(memoryview(b""), "zip", 2, 4)


@pytest.mark.parametrize("algorithm", COMPRESSIONS)
def test_bomb_is_refused_before_memory_is_taken(algorithm: str) -> None:
    """A terabyte could not be allocated: it is refused for what the bytes can hold at most."""
    size = 1 << 40
    with pytest.raises(WireError, match=f"cannot hold {size}"):
        decompress(memoryview(HEADER.pack(size, 2**31) + bytes(1000)), algorithm, 2, size)


def test_number_of_blocks_is_limited() -> None:
    size = 16 * (MAX_BLOCKS + 1)
    with pytest.raises(WireError, match="blocks of 16 bytes are too small"):
        decompress(memoryview(HEADER.pack(size, 16) + bytes(size // 256 + 1)), "lz4", 2, size)
