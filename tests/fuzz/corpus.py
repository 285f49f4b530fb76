"""The corpus: one small file an input, in a folder a format. It grows; `make fuzz` starts from it.

A file holds the options of the decoder and the messages it is sent, in CBOR. Its name is the hash
of its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cbor2

from tests.fuzz.raw import Message

FOLDER = Path(__file__).parent / "corpus"
MAX_KEPT_BYTES = 4096
"""Longest new input that is kept for what came of it; a fault is kept whatever its length."""


def keep(name: str, options: Mapping[str, Any], messages: Sequence[Message]) -> Path:
    """Store the inputs of a format, and return where."""
    content = cbor2.dumps({"options": plain(options), "messages": list(messages)})
    path = FOLDER / name / f"{hashlib.sha256(content).hexdigest()[:16]}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options without the clock, which no file can hold."""
    return {key: value for key, value in options.items() if not callable(value)}


def kept(name: str) -> Iterator[tuple[Path, dict[str, Any], list[Message]]]:
    """Path, options and messages of every file of a format."""
    for path in sorted((FOLDER / name).glob("*.bin")):
        content = cbor2.loads(path.read_bytes())
        yield path, content["options"], content["messages"]


def messages(name: str) -> tuple[Message, ...]:
    """Every message of a format's corpus."""
    return tuple(message for _, _, found in kept(name) for message in found)
