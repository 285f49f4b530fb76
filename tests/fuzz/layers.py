"""The outer layer of a message, bytes to a tree that can be changed and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cbor2
import msgpack

from cade.wire import cbor

DEEP = "~DEEP~"
"""A text in a tree that is nested deeply once the tree is bytes: no package would write that."""


@dataclass(slots=True)
class Tagged:
    """A tagged CBOR item that can be changed."""

    number: int
    value: Any


@dataclass(frozen=True, slots=True)
class Layer:
    """How a part with fields is read and written; `nest` are the bytes of n levels of lists."""

    load: Callable[[bytes], Any]
    dump: Callable[..., bytes]
    nest: Callable[[int], bytes]

    def write(self, tree: Any, depth: int) -> bytes:
        """A tree as bytes, nested `depth` levels where it says so."""
        data = self.dump(tree)
        marker = self.dump(DEEP)
        return data.replace(marker, self.nest(depth)) if marker in data else data


def _dump_json(tree: Any) -> bytes:
    return json.dumps(tree, default=str).encode()


def _load_msgpack(part: bytes) -> Any:
    return msgpack.unpackb(part, raw=False, strict_map_key=False)


def _dump_msgpack(tree: Any) -> bytes:
    packed: bytes = msgpack.packb(tree, unicode_errors="surrogatepass", default=str)
    return packed


def _load_cbor(part: bytes) -> Any:
    return _changeable(cbor.loads(memoryview(part)))


def _changeable(item: object) -> Any:
    match item:
        case memoryview():
            return bytes(item)
        case list():
            return [_changeable(member) for member in item]
        case dict():
            return {key: _changeable(member) for key, member in item.items()}
        case cbor.Tag():
            return Tagged(item.number, _changeable(item.value))
    return item


def _tag(encoder: Any, item: object) -> None:
    assert isinstance(item, Tagged)
    encoder.encode(cbor2.CBORTag(item.number, item.value))


def _dump_cbor(tree: Any, *, canonical: bool = False, indefinite: bool = False) -> bytes:
    return cbor2.dumps(tree, default=_tag, canonical=canonical, indefinite_containers=indefinite)


JSON = Layer(json.loads, _dump_json, lambda depth: b"[" * depth + b"]" * depth)
MSGPACK = Layer(_load_msgpack, _dump_msgpack, lambda depth: b"\x91" * depth + b"\xc0")
CBOR = Layer(_load_cbor, _dump_cbor, lambda depth: b"\x81" * depth + b"\xf6")
