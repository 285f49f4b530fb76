"""A recorded stream in one file: raw multipart messages and when they came.

All numbers are little-endian. The file begins with

    8 bytes   CADEREC1
    uint32    length of what follows
    bytes     JSON object, UTF-8: what was recorded, as in `RecordingHeader`

and goes on with one record a message:

    4 bytes   MSG1
    float64   when it came, Unix time in s
    uint32    number of its parts
    uint64    length of each part
    bytes     the parts, one behind the other
    uint32    CRC-32 of all of this record before it

Whatever ends the writing, all records but the last are whole. There is nothing in a file that is
run or unpickled, and a length is believed only as far as the file reaches.
"""

from __future__ import annotations

import json
import math
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from cade.errors import CadeError
from cade.wire.codec import Buffer

MAGIC = b"CADEREC1"
MAX_HEADER_BYTES = 1 << 16
MAX_PARTS = 1 << 16

_MARK = b"MSG1"
_SIZE = struct.Struct("<I")
_RECORD = struct.Struct("<4sdI")

_LATEST_S = 1e11  # in the year 5138

Receiver = Literal["pull", "sub", "req"]
_RECEIVERS = ("pull", "sub", "req")


@dataclass(frozen=True, slots=True)
class RecordingHeader:
    """What was recorded: by which socket, from where, of which wire format ("" if nobody said)."""

    socket: Receiver
    endpoint: str
    wire_format: str
    start_time_s: float


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """A message as it came, at Unix time `time_s`."""

    time_s: float
    parts: tuple[bytes, ...]


class RecordingWriter:
    """A new file; a context manager that closes it.

    Nothing is left of one that failed before its first message.

    Raises:
        CadeError: it exists, or cannot be written.
    """

    def __init__(self, path: Path, header: RecordingHeader) -> None:
        self._path = path
        self.size_bytes = 0
        self.messages = 0
        try:
            self._file: IO[bytes] = path.open("xb", buffering=0)
        except FileExistsError:
            raise CadeError(
                f"{path}: exists and is never overwritten; remove it or name another file"
            ) from None
        except OSError as error:
            raise self._failure(error) from error
        content = json.dumps(asdict(header)).encode()
        try:
            self._put([MAGIC, _SIZE.pack(len(content)), content])
        except CadeError as error:
            self.__exit__(type(error), error, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is not None and not self.messages:
            self._path.unlink(missing_ok=True)

    def write(self, parts: Sequence[Buffer]) -> None:
        """Store a message that has just come.

        A message for which there is no room leaves none of itself in the file.

        Raises:
            CadeError: the file cannot be written; what it holds is whole.
        """
        lengths = struct.pack(f"<{len(parts)}Q", *(len(part) for part in parts))
        record: list[Buffer] = [_RECORD.pack(_MARK, time.time(), len(parts)), lengths, *parts]
        checksum = 0
        for piece in record:
            checksum = zlib.crc32(piece, checksum)
        self._put([*record, _SIZE.pack(checksum)])
        self.messages += 1

    def _put(self, pieces: Sequence[Buffer]) -> None:
        written = 0
        try:
            for piece in pieces:
                left = memoryview(piece).cast("B")
                while left:
                    count = self._file.write(left) or 0
                    left = left[count:]
                    written += count
        except OSError as error:
            self._file.truncate(self.size_bytes)
            raise self._failure(error) from error
        self.size_bytes += written

    def _failure(self, error: OSError) -> CadeError:
        reason = error.strerror or str(error)
        kept = f"; the {self.messages} messages before are kept" if self.messages else ""
        return CadeError(
            f"{self._path}: cannot be written ({reason}){kept}; make room or choose another place"
        )


class RecordingReader:
    """A recorded file; a context manager that closes it.

    `header` says what was recorded. After `messages` has ended, `cut_bytes` is how much of a last
    message that was never finished stands at the end.

    Raises:
        CadeError: it cannot be read, or is no recording.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cut_bytes = 0
        try:
            self._file = path.open("rb")
        except OSError as error:
            reason = "does not exist" if isinstance(error, FileNotFoundError) else error.strerror
            raise CadeError(f"{path}: {reason}") from error
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._file.close()

    def messages(self) -> Iterator[RecordedMessage]:
        """The messages from here on, one in memory at a time.

        Raises:
            CadeError: the file is damaged; the messages before that place have been delivered.
        """
        number = 0
        while self._left:
            number += 1
            start = self._file.tell()
            message = self._message(number)
            if message is None:
                self.cut_bytes = self._size - start
                return
            yield message

    @property
    def _left(self) -> int:
        return self._size - self._file.tell()

    def _read_header(self) -> RecordingHeader:
        if self._file.read(len(MAGIC)) != MAGIC:
            raise CadeError(f"{self._path}: is no recording of `cade record`")
        try:
            (size,) = _SIZE.unpack(self._file.read(_SIZE.size))
            if size > min(MAX_HEADER_BYTES, self._left):
                raise ValueError(f"a header of {size} bytes")
            return _header(json.loads(self._file.read(size)))
        except (ValueError, struct.error, RecursionError) as error:
            raise CadeError(
                f"{self._path}: the header of the recording is damaged ({error!s:.80})"
            ) from None

    def _message(self, number: int) -> RecordedMessage | None:
        """The next one; None where the file ends within it."""
        head = self._file.read(_RECORD.size)
        if len(head) < _RECORD.size:
            return None
        mark, time_s, count = _RECORD.unpack(head)
        if mark != _MARK or not 1 <= count <= MAX_PARTS or not math.isfinite(time_s):
            raise self._damage(number)
        if count * 8 > self._left:
            return None
        lengths = self._file.read(count * 8)
        sizes = struct.unpack(f"<{count}Q", lengths)
        if sum(sizes) + _SIZE.size > self._left:
            return None
        parts = tuple(self._file.read(size) for size in sizes)
        checksum = 0
        for piece in (head, lengths, *parts):
            checksum = zlib.crc32(piece, checksum)
        if self._file.read(_SIZE.size) != _SIZE.pack(checksum):
            raise self._damage(number)
        return RecordedMessage(time_s, parts)

    def _damage(self, number: int) -> CadeError:
        return CadeError(f"{self._path}: message {number} is damaged; those before it are whole")


def _header(content: object) -> RecordingHeader:
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    kinds = {"socket": str, "endpoint": str, "wire_format": str, "start_time_s": float}
    for one in fields(RecordingHeader):
        if not isinstance(content.get(one.name), kinds[one.name]):
            raise ValueError(f"{one.name} is missing or of another type")
    if content["socket"] not in _RECEIVERS:
        raise ValueError("socket is none of pull, sub, req")
    if not 0 <= content["start_time_s"] < _LATEST_S:
        raise ValueError("start_time_s is no time")
    return RecordingHeader(**{name: content[name] for name in kinds})
