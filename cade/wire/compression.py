"""Compressed images, "bslz4" and "lz4", checked before anything is allocated.

Framed as in HDF5, both begin with the decompressed size (8 bytes) and the block size (4 bytes),
then every block is a 4-byte compressed size and an LZ4 block; all numbers are big-endian. bslz4
shuffles the bits of a block first and keeps the last 0 ... 7 elements of the image uncompressed;
lz4 stores a block that does not shrink as it is. The layout is that of the HDF5 filters 32008 and
32004. Some streams leave the header out: bslz4 then has blocks of 8192 bytes, and lz4 is one block.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Literal, get_args

import bitshuffle
import lz4.block
import numpy as np
from numpy.typing import NDArray

from cade.wire.codec import WireError

Compression = Literal["bslz4", "lz4"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)

BLOCK_BYTES = 8192
MAX_BLOCKS = 1 << 20
_HEADER = struct.Struct(">QI")
_LENGTH = struct.Struct(">I")
_MAX_LZ4_BYTES = 0x7E000000  # what an LZ4 block may hold
_MAX_RATIO = 256  # an LZ4 block cannot grow more than 255 times


def compress(image: NDArray[Any], algorithm: Compression) -> bytes:
    """An image, any shape, as one framed byte string."""
    data = np.ascontiguousarray(image)
    header = _HEADER.pack(data.nbytes, BLOCK_BYTES)
    if algorithm == "bslz4":
        words = data.view(f"u{data.itemsize}")
        shuffled: bytes = bitshuffle.compress_lz4(words, BLOCK_BYTES // data.itemsize).tobytes()
        return header + shuffled
    raw = data.tobytes()
    blocks = [header]
    for start in range(0, len(raw), BLOCK_BYTES):
        block = raw[start : start + BLOCK_BYTES]
        packed = lz4.block.compress(block, store_size=False)
        smaller = packed if len(packed) < len(block) else block
        blocks += [_LENGTH.pack(len(smaller)), smaller]
    return b"".join(blocks)


def decompress(
    payload: memoryview, algorithm: str, element_size: int, size_bytes: int
) -> NDArray[np.uint8]:
    """The `size_bytes` bytes that a framed byte string stands for.

    Args:
        payload: the compressed bytes.
        algorithm: "bslz4" or "lz4".
        element_size: bytes of an element that bslz4 shuffled: 1, 2, 4 or 8.
        size_bytes: what must come out; the caller has checked it against its limit.

    Raises:
        WireError: another algorithm or size, or blocks that do not fit.
    """
    _check_algorithm(algorithm)
    if len(payload) < _HEADER.size:
        raise WireError(f"{algorithm}: {len(payload)} bytes are too few for the header")
    declared, block_bytes = _HEADER.unpack_from(payload)
    if declared != size_bytes:
        raise WireError(f"{algorithm}: declares {declared} bytes, the image has {size_bytes}")
    _check_ratio(payload, algorithm, size_bytes)
    if block_bytes == 0 or size_bytes > MAX_BLOCKS * block_bytes:
        raise WireError(f"{algorithm}: blocks of {block_bytes} bytes are too small")
    if algorithm == "bslz4":
        return _decompress_bslz4(payload[_HEADER.size :], element_size, size_bytes, block_bytes)
    return _decompress_lz4(payload[_HEADER.size :], size_bytes, block_bytes)


def decompress_any(
    payload: memoryview, algorithm: str, element_size: int, size_bytes: int
) -> NDArray[np.uint8]:
    """The same, also for a byte string without the header.

    A header begins with the upper half of the size, which is 0 below 4 GiB; without a header the
    length of the first block stands there, or the first LZ4 sequence: neither is ever 0.
    """
    _check_algorithm(algorithm)
    if int.from_bytes(payload[:4], "big") == size_bytes >> 32:
        return decompress(payload, algorithm, element_size, size_bytes)
    _check_ratio(payload, algorithm, size_bytes)
    if algorithm == "bslz4":
        return _decompress_bslz4(payload, element_size, size_bytes, BLOCK_BYTES)
    if size_bytes > _MAX_LZ4_BYTES:
        raise WireError(f"lz4: {size_bytes} bytes are too many for one block")
    block = _decompress_block(payload, size_bytes)
    return np.frombuffer(block, np.uint8)


def compress_bare(image: NDArray[Any], algorithm: Compression) -> bytes:
    """An image as one byte string without the header."""
    if algorithm == "bslz4":
        return compress(image, algorithm)[_HEADER.size :]
    packed: bytes = lz4.block.compress(np.ascontiguousarray(image), store_size=False)
    return packed


def _check_algorithm(algorithm: str) -> None:
    if algorithm not in COMPRESSIONS:
        raise WireError(f"compression {algorithm!r:.40} is not known; known are bslz4 and lz4")


def _check_ratio(payload: memoryview, algorithm: str, size_bytes: int) -> None:
    """Refuse a size that these bytes cannot stand for, before it is allocated."""
    if size_bytes > _MAX_RATIO * len(payload):
        raise WireError(f"{algorithm}: {len(payload)} bytes cannot hold {size_bytes}")


def _decompress_bslz4(
    payload: memoryview, element_size: int, size_bytes: int, block_bytes: int
) -> NDArray[np.uint8]:
    if element_size not in (1, 2, 4, 8) or size_bytes % element_size:
        raise WireError(f"bslz4: {size_bytes} bytes are no elements of {element_size!r:.20} bytes")
    elements, block = size_bytes // element_size, block_bytes // element_size
    if block == 0 or block % 8 or block_bytes % element_size:
        raise WireError(f"bslz4: blocks of {block_bytes} bytes are no multiple of 8 elements")
    # The C code trusts the compressed sizes: walk them first, they must end where the bytes end.
    count = -(-(elements - elements % 8) // block)
    end = 0
    for start, length in _blocks(payload, count, "bslz4"):
        end = start + length
    if end + elements % 8 * element_size != len(payload):
        raise WireError(f"bslz4: {len(payload)} bytes do not end with the last block")
    source = np.frombuffer(payload, np.uint8)
    try:
        words = bitshuffle.decompress_lz4(source, (elements,), np.dtype(f"u{element_size}"), block)
    except Exception as error:  # noqa: BLE001 the package raises plain Exception
        raise WireError(f"bslz4: a block does not decompress ({error!s:.80})") from None
    found: NDArray[np.uint8] = words.view(np.uint8)
    return found


def _decompress_lz4(payload: memoryview, size_bytes: int, block_bytes: int) -> NDArray[np.uint8]:
    out = np.empty(size_bytes, np.uint8)
    position = end = 0
    for start, length in _blocks(payload, -(-size_bytes // block_bytes), "lz4"):
        size = min(block_bytes, size_bytes - position)
        end = start + length
        block = payload[start:end]
        raw = block if length == size else _decompress_block(block, size)
        out[position : position + size] = np.frombuffer(raw, np.uint8)
        position += size
    if end != len(payload):
        raise WireError(f"lz4: {len(payload) - end} bytes after the last block")
    return out


def _decompress_block(block: memoryview, size_bytes: int) -> bytes:
    try:
        found: bytes = lz4.block.decompress(block, uncompressed_size=size_bytes)
    except lz4.block.LZ4BlockError as error:
        raise WireError(f"lz4: a block does not decompress ({error!s:.80})") from None
    if len(found) != size_bytes:
        raise WireError(f"lz4: a block has {len(found)} bytes, not {size_bytes}")
    return found


def _blocks(payload: memoryview, count: int, algorithm: str) -> Iterator[tuple[int, int]]:
    """Start and length of each compressed block, each inside the payload."""
    position = 0
    for _ in range(count):
        start = position + _LENGTH.size
        if start > len(payload):
            raise WireError(f"{algorithm}: cut short, {count} blocks were announced")
        (length,) = _LENGTH.unpack_from(payload, position)
        if length == 0 or start + length > len(payload):
            raise WireError(f"{algorithm}: a block of {length} bytes reaches beyond the end")
        yield start, length
        position = start + length
