"""Decoders of what does not come as the parts of a message: fields, and files."""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cbor2
import numpy as np

from cade.errors import CadeError
from cade.wire import Buffer, Message, WireError, decoder
from cade.wire.ntndarray import NtndArrayDecoder
from cade.wire.options import DecoderOptions
from cade.wire.recording import RecordingReader
from cade.wire.typed_array import DTYPES
from tests.fuzz.layers import CBOR, Layer, Tagged


class FieldsOfNtndArray:
    """NTNDArrays, their fields carried in CBOR; an array of numbers is a typed array."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = dict(options)
        detector, exposure_key = given.pop("detector", None), given.pop("exposure_key", "")
        self._decoder = NtndArrayDecoder(
            DecoderOptions(**given), detector=detector, exposure_key=exposure_key
        )

    def forget(self) -> None:
        """The next image begins a series."""
        self._decoder.forget()

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        """Events of one array; bytes that are no fields never reach the decoder."""
        try:
            fields = cbor2.loads(bytes(*parts[:1]), tag_hook=_array)
        except Exception:  # noqa: BLE001 whatever the package raises
            fields = None
        if not isinstance(fields, dict):
            raise WireError("these bytes carry no fields")
        return self._decoder.decode(fields)


def packed_fields(fields: Mapping[str, Any]) -> list[bytes]:
    """Fields as p4p gives them, as one part of CBOR."""
    return [CBOR.dump({key: _with_tags(value) for key, value in fields.items()})]


def _array(tag: cbor2.CBORTag, _: bool) -> Any:
    if tag.tag not in DTYPES or not isinstance(tag.value, bytes):
        return tag.value
    dtype = np.dtype(DTYPES[tag.tag]).newbyteorder("=")  # p4p has only native arrays
    return np.frombuffer(tag.value[: len(tag.value) - len(tag.value) % dtype.itemsize], dtype)


def _with_tags(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        number = next(tag for tag, name in DTYPES.items() if name == value.dtype.str)
        return Tagged(number, value.tobytes())
    return value


class RecordedStream:
    """A recording of an array-1.0 stream, replayed from a file into its decoder."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._decoder = decoder("array-1.0", **options)
        handle, name = tempfile.mkstemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        os.close(handle)
        self._path = Path(name)

    def __del__(self) -> None:
        self._path.unlink(missing_ok=True)

    def forget(self) -> None:
        """Nothing to forget."""

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        """Events of all messages that the file holds, up to the first that is damaged."""
        self._path.write_bytes(bytes(parts[0]) if parts else b"")
        found: list[Message] = []
        try:
            with RecordingReader(self._path) as reader:
                for message in reader.messages():
                    found += self._decoder.decode(message.parts)
        except WireError:
            raise
        except CadeError as error:
            raise WireError(str(error).removeprefix(f"{self._path}: ")) from None
        return tuple(found)


def _load_recording(data: bytes) -> dict[str, Any]:
    if data[:8] != b"CADEREC1":
        raise ValueError("no recording")
    (size,) = struct.unpack_from("<I", data, 8)
    tree: dict[str, Any] = {"header": json.loads(data[12 : 12 + size]), "messages": []}
    place = 12 + size
    while place < len(data):
        _, time_s, count = struct.unpack_from("<4sdI", data, place)
        sizes = struct.unpack_from(f"<{count}Q", data, place + 16)
        place += 16 + 8 * count
        parts = []
        for length in sizes:
            parts.append(data[place : place + length])
            place += length
        tree["messages"].append({"time": time_s, "parts": parts})
        place += 4
    return tree


def _dump_recording(tree: Any) -> bytes:
    """With lengths and checksums made anew."""
    if isinstance(tree, str):  # the marker of what is nested
        return json.dumps(tree).encode()
    header = json.dumps(tree.get("header")).encode()
    found = b"CADEREC1" + struct.pack("<I", len(header)) + header
    for message in tree.get("messages", []):
        parts = message["parts"]
        record = struct.pack("<4sdI", b"MSG1", message["time"], len(parts))
        record += struct.pack(f"<{len(parts)}Q", *map(len, parts)) + b"".join(parts)
        found += record + struct.pack("<I", zlib.crc32(record))
    return found


RECORDING = Layer(_load_recording, _dump_recording, lambda depth: b"[" * depth + b"]" * depth)
