"""CBOR (RFC 8949) to Python values, without a copy of the images and with bounded work.

The cbor2 package, which this project encodes with and tests this reader against, copies a message
twice and builds whatever it is told to: 20 MB of empty lists cost it 1.5 GB and 11 s. This reader
keeps byte strings as views of the message, takes a limited number of items, and gives no tag a
meaning of its own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cade.wire.codec import WireError

MAX_ITEMS = 100_000
MAX_DEPTH = 64
MAX_TEXT_BYTES = 1 << 24
"""Of all texts together: each becomes a copy, four times as long in the worst case."""

_INDEFINITE = 31
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE: dict[int, bool | None] = {20: False, 21: True, 22: None, 23: None}
_BREAK = object()


@dataclass(frozen=True, slots=True)
class Tag:
    """A tagged item."""

    number: int
    value: object


def loads(data: memoryview, *, max_items: int = MAX_ITEMS, max_depth: int = MAX_DEPTH) -> object:
    """The one item that `data` (unsigned bytes) holds.

    Returns:
        int, float, str, bool, None, `memoryview` for a byte string (a view of `data`; one sent in
        chunks is joined), list, dict with text or whole numbers as keys, or `Tag`.

    Raises:
        WireError: not one whole well-formed item, or more items or levels than allowed.
    """
    reader = _Reader(data, max_items, max_depth)
    value = reader.item()
    if value is _BREAK:
        raise WireError("CBOR: a break outside any item of indefinite length")
    if reader.position != len(data):
        raise WireError(f"CBOR: {len(data) - reader.position} bytes after the end of the message")
    return value


class _Reader:
    """A position in the bytes, and how much may still be read."""

    __slots__ = ("_data", "_depth_left", "_items_left", "_text_left", "position")

    def __init__(self, data: memoryview, max_items: int, max_depth: int) -> None:
        self._data = data
        self._items_left = max_items
        self._depth_left = max_depth
        self._text_left = MAX_TEXT_BYTES
        self.position = 0

    def item(self) -> object:
        """The next item, `_BREAK` at the end of one of indefinite length."""
        self._items_left -= 1
        if self._items_left < 0:
            raise WireError("CBOR: too many items")
        initial = self._take(1)[0]
        major, info = initial >> 5, initial & 0x1F
        if major == 7:
            return self._simple(info)
        if info == _INDEFINITE:
            return self._indefinite(major)
        argument = self._argument(info)
        if major < 2:
            return argument if major == 0 else -1 - argument
        if major < 4:
            data = self._take(argument)
            return data if major == 2 else self._text(data)
        return self._nested(major, argument)

    def _take(self, count: int) -> memoryview:
        left = len(self._data) - self.position
        if count > left:
            raise WireError(
                f"CBOR: cut short: {count} bytes announced at byte {self.position}, {left} left"
            )
        start, self.position = self.position, self.position + count
        return self._data[start : self.position]

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise WireError(f"CBOR: reserved length code {info} at byte {self.position - 1}")
        return int.from_bytes(self._take(1 << (info - 24)), "big")

    def _text(self, data: memoryview) -> str:
        self._text_left -= len(data)
        if self._text_left < 0:
            raise WireError(f"CBOR: more than {MAX_TEXT_BYTES} bytes of text")
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"CBOR: a text is not UTF-8 ({error.reason})") from None

    def _simple(self, info: int) -> object:
        if info in _FLOATS:
            value: float = struct.unpack(_FLOATS[info], self._take(1 << (info - 24)))[0]
            return value
        if info in _SIMPLE:
            return _SIMPLE[info]
        if info == _INDEFINITE:
            return _BREAK
        raise WireError(f"CBOR: unknown simple value {info} at byte {self.position - 1}")

    def _nested(self, major: int, argument: int) -> object:
        self._depth_left -= 1
        if self._depth_left < 0:
            raise WireError("CBOR: nested too deeply")
        if major == 6:
            value: object = Tag(argument, self._member())
        elif major == 4:
            value = [self._member() for _ in range(argument)]
        else:
            value = self._map(argument)
        self._depth_left += 1
        return value

    def _indefinite(self, major: int) -> object:
        if major not in (2, 3, 4, 5):
            raise WireError(f"CBOR: indefinite length at byte {self.position - 1}")
        self._depth_left -= 1
        if self._depth_left < 0:
            raise WireError("CBOR: nested too deeply")
        value: object
        if major == 5:
            value = self._map(None)
        else:
            members = list(iter(self.item, _BREAK))
            value = members if major == 4 else _joined(members, major)
        self._depth_left += 1
        return value

    def _member(self) -> object:
        value = self.item()
        if value is _BREAK:
            raise WireError(f"CBOR: unexpected break at byte {self.position - 1}")
        return value

    def _map(self, count: int | None) -> dict[str | int, object]:
        """`count` pairs, or pairs up to a break."""
        found: dict[str | int, object] = {}
        pairs = 0
        while count is None or pairs < count:
            key = self.item() if count is None else self._member()
            if key is _BREAK:
                break
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise WireError(f"CBOR: a map key at byte {self.position} is no text or number")
            if key in found:
                raise WireError(f"CBOR: the key {key!r:.60} stands twice in one map")
            found[key] = self._member()
            pairs += 1
        return found


def _joined(chunks: list[object], major: int) -> memoryview | str:
    """The chunks of a string of indefinite length as one string."""
    if major == 3:
        texts = [chunk for chunk in chunks if isinstance(chunk, str)]
        if len(texts) == len(chunks):
            return "".join(texts)
    else:
        blocks = [chunk for chunk in chunks if isinstance(chunk, memoryview)]
        if len(blocks) == len(chunks):
            return memoryview(b"".join(blocks))
    raise WireError("CBOR: a string of indefinite length with a chunk of another type")
