"""The CBOR reader, against the cbor2 package and against hostile bytes."""

from __future__ import annotations

import math

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cade.wire import WireError, cbor

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=40)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=20,
)


def read(data: bytes, **limits: int) -> object:
    return plain(cbor.loads(memoryview(data), **limits))


def plain(value: object) -> object:
    """Views as bytes, so that values compare."""
    match value:
        case memoryview():
            return bytes(value)
        case list():
            return [plain(member) for member in value]
        case dict():
            return {key: plain(member) for key, member in value.items()}
        case cbor.Tag():
            return cbor.Tag(value.number, plain(value.value))
    return value


@given(VALUES, st.booleans(), st.booleans())
def test_reads_what_cbor2_writes(value: object, canonical: bool, indefinite: bool) -> None:
    data = cbor2.dumps(value, canonical=canonical, indefinite_containers=indefinite)
    assert read(data) == value


@given(st.binary(max_size=30))
def test_agrees_with_cbor2_on_any_bytes(data: bytes) -> None:
    """Where both read the bytes, and no tag is among them, they read the same."""
    try:
        ours = read(data)
        theirs = cbor2.loads(data)
    except (WireError, cbor2.CBORError):
        return
    if "Tag(" in repr(ours) or "undefined" in repr(theirs):
        return
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("f93c00", 1.0),
        ("f97bff", 65504.0),
        ("fb3ff199999999999a", 1.1),
        ("3903e7", -1000),
        ("5f42010243030405ff", b"\1\2\3\4\5"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("c074323031332d30332d32315432303a30343a30305a", cbor.Tag(0, "2013-03-21T20:04:00Z")),
    ],
)
def test_examples_of_rfc_8949(data: str, value: object) -> None:
    assert read(bytes.fromhex(data)) == value


def test_infinity() -> None:
    assert read(bytes.fromhex("f97c00")) == math.inf


def test_byte_string_is_a_view() -> None:
    data = bytearray(cbor2.dumps({"a": b"abc"}))
    value = cbor.loads(memoryview(data))
    assert isinstance(value, dict)
    data[data.index(b"abc")] = ord("x")
    assert bytes(value["a"]) == b"xbc"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("", "cut short: 1 bytes announced at byte 0, 0 left"),
        ("0000", "1 bytes after the end"),
        ("ff", "break outside"),
        ("1c", "reserved length code 28"),
        ("1f", "indefinite length at byte 0"),
        ("df00ff", "indefinite length at byte 0"),
        ("5bffffffffffffffff00", "cut short: 18446744073709551615 bytes"),
        ("9bffffffffffffffff00", "cut short"),
        ("bbffffffffffffffff6161", "cut short"),
        ("a16161ff", "unexpected break"),
        ("bf6161ff", "unexpected break"),
        ("82ff", "unexpected break"),
        ("c0ff", "unexpected break"),
        ("a2616101616102", "'a' stands twice"),
        ("a1f500", "no text or number"),
        ("a1410000", "no text or number"),
        ("a1800000", "no text or number"),
        ("62fffe", "not UTF-8"),
        ("5f6161ff", "chunk of another type"),
        ("7f4161ff", "chunk of another type"),
        ("f0", "unknown simple value 16"),
        ("f820", "unknown simple value 24"),
    ],
)
def test_ill_formed(data: str, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        read(bytes.fromhex(data))


@pytest.mark.parametrize("opening", [b"\x81", b"\x9f", b"\xa1\x61a", b"\xc1"])
def test_depth_is_limited(opening: bytes) -> None:
    assert read(opening * 3 + b"\x00" + b"\xff" * (3 * (opening == b"\x9f")), max_depth=3)
    with pytest.raises(WireError, match="nested too deeply"):
        read(opening * 4 + b"\x00", max_depth=3)
    with pytest.raises(WireError, match="nested too deeply"):
        read(opening * 100_000)


def test_number_of_items_is_limited() -> None:
    assert read(b"\x83" + b"\x80" * 3, max_items=4) == [[], [], []]
    with pytest.raises(WireError, match="too many items"):
        read(b"\x83" + b"\x80" * 3, max_items=3)
    with pytest.raises(WireError, match="too many items"):
        read(b"\x9f" + b"\x80" * 10_000_000 + b"\xff")
