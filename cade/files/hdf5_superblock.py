"""The first bytes of an HDF5 file: whether it is being written, and how long it should be.

Read as plain bytes, because the HDF5 library refuses a file that is open for writing, and can hang
for minutes in a truncated one (HDF5 File Format Specification 3.0, section II.A).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FARTHEST = 1 << 20
"""User blocks before the superblock are powers of two from 512 on; longer ones are not searched."""
_WIDTHS = {2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class Superblock:
    """What the superblock says.

    `end` is the length that the file must have. `flags_kept` is whether the format (version 3)
    notes writers; without it `writing` and `swmr` are always false.
    """

    end: int
    flags_kept: bool
    writing: bool
    swmr: bool


def read_superblock(file: BinaryIO) -> Superblock | None:
    """The superblock of a file, None where there is none (yet)."""
    start = 0
    while start <= _FARTHEST:
        file.seek(start)
        head = file.read(128)
        if len(head) < 12:
            return None
        if head.startswith(_SIGNATURE):
            return _parse(head)
        start = 2 * start or 512
    return None


def _parse(head: bytes) -> Superblock | None:
    version = head[8]
    if version in (0, 1):
        width, place = head[13], 24 + 4 * version
    elif version in (2, 3):
        width, place = head[9], 12
    else:
        return None
    if width not in _WIDTHS or len(head) < place + 3 * width:
        return None
    *_, end = struct.unpack_from(f"<3{_WIDTHS[width]}", head, place)
    flags = head[11] if version == 3 else 0
    return Superblock(end, version == 3, bool(flags & 1), bool(flags & 4))
