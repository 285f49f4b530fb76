"""Where a TIFF's own directories say that its pixels are, without decoding any."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cade.files.stored import Unfinished

_OFFSETS, _COUNTS = (273, 324), (279, 325)
"""Tags of strips and tiles: where each is, and how many bytes it has."""
_WIDTHS = {3: "H", 4: "I", 16: "Q"}
_MOST = 1 << 16
"""Pages, or strips of a page, beyond which a file is not looked at any closer."""


@dataclass(frozen=True, slots=True)
class _Layout:
    order: str
    pointer: str
    count: str
    entry: int
    first: int

    @property
    def inline(self) -> int:
        return struct.calcsize(self.order + self.pointer)


def data_end(file: BinaryIO, length: int) -> int | None:
    """Where the last byte of pixels ends, None where that cannot be told.

    Raises:
        Unfinished: a directory or pixels lie beyond the end of the file, or there are none.
    """
    layout = _layout(file)
    place, seen, end = _number(file, layout, layout.first), set[int](), 0
    if place == 0:
        raise Unfinished("holds no page; it may be unfinished")
    while place:
        if place in seen or len(seen) > _MOST:
            return None
        seen.add(place)
        tags, place = _directory(file, layout, place, length)
        for start, size in _pieces(file, layout, tags, length):
            if start == 0 or size == 0:
                return None  # sparse, or not stated yet
            end = max(end, start + size)
            if end > length:
                raise Unfinished(f"is truncated: it has {length} bytes of {end}")
    return end or None


def _layout(file: BinaryIO) -> _Layout:
    file.seek(0)
    head = file.read(8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise Unfinished("does not begin as a TIFF")
    (magic,) = struct.unpack_from(order + "H", head, 2)
    if magic == 43:
        return _Layout(order, "Q", "Q", 20, 8)
    return _Layout(order, "I", "H", 12, 4)


def _number(file: BinaryIO, layout: _Layout, place: int, kind: str = "") -> int:
    file.seek(place)
    kind = layout.order + (kind or layout.pointer)
    content = file.read(struct.calcsize(kind))
    if len(content) < struct.calcsize(kind):
        raise Unfinished("is truncated within a directory")
    (number,) = struct.unpack(kind, content)
    return int(number)


def _directory(
    file: BinaryIO, layout: _Layout, place: int, length: int
) -> tuple[dict[int, tuple[int, int, int]], int]:
    """Its entries, tag → (type, count, where the values are), and the next one's place."""
    if place >= length:
        raise Unfinished(f"is truncated: a directory is at byte {place} of {length}")
    count = _number(file, layout, place, layout.count)
    begin = place + struct.calcsize(layout.order + layout.count)
    content = file.read(count * layout.entry)
    if len(content) < count * layout.entry:
        raise Unfinished("is truncated within a directory")
    tags = {}
    for index in range(count):
        form = f"{layout.order}HH{layout.pointer}"
        tag, kind, number = struct.unpack_from(form, content, index * layout.entry)
        tags[tag] = (kind, number, begin + index * layout.entry + struct.calcsize(form))
    return tags, _number(file, layout, begin + count * layout.entry)


def _pieces(
    file: BinaryIO, layout: _Layout, tags: dict[int, tuple[int, int, int]], length: int
) -> Iterator[tuple[int, int]]:
    for offsets, counts in zip(_OFFSETS, _COUNTS, strict=True):
        if offsets in tags and counts in tags:
            yield from zip(
                _values(file, layout, tags[offsets], length),
                _values(file, layout, tags[counts], length),
                strict=False,
            )


def _values(
    file: BinaryIO, layout: _Layout, entry: tuple[int, int, int], length: int
) -> tuple[int, ...]:
    kind, count, place = entry
    if kind not in _WIDTHS or not 0 < count <= _MOST:
        return (0,)
    form = f"{layout.order}{count}{_WIDTHS[kind]}"
    size = struct.calcsize(form)
    if size > layout.inline:
        place = _number(file, layout, place)
    if place + size > length:
        raise Unfinished("is truncated within a directory")
    file.seek(place)
    return struct.unpack(form, file.read(size))
