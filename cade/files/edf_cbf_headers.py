"""How long an EDF or CBF file should be by its own headers (no fabio needed)."""

from __future__ import annotations

import math
import re
from typing import BinaryIO

from cade.files.stored import Unfinished

_MOST_HEADER = 1 << 20
_PIXEL_BYTES = {
    "signedbyte": 1, "unsignedbyte": 1, "signedshort": 2, "unsignedshort": 2,
    "signedinteger": 4, "unsignedinteger": 4, "signedlong": 4, "unsignedlong": 4,
    "signed64": 8, "unsigned64": 8, "floatvalue": 4, "float": 4, "doublevalue": 8, "double": 8,
}  # fmt: skip
_CBF_MARK = b"\x0c\x1a\x04\xd5"
_CBF_END = b"--CIF-BINARY-FORMAT-SECTION----"


def edf_end(file: BinaryIO, length: int) -> int | None:
    """Where the last image of an EDF file ends, None where its headers do not say.

    Raises:
        Unfinished: a header or an image is cut off.
    """
    place = 0
    while place < length:
        file.seek(place)
        head = file.read(_MOST_HEADER)
        if not head.strip():
            return place or None
        if not head.lstrip().startswith(b"{"):
            raise Unfinished("does not begin as an EDF" if place == 0 else "has a damaged header")
        stop = re.search(rb"\}\s?\n", head)
        if stop is None:
            raise Unfinished("is truncated within a header")
        size = _edf_size(edf_header(head[: stop.end()]))
        if size is None:
            return None
        place += stop.end() + size
    if place > length:
        raise Unfinished(f"is truncated: it has {length} bytes of {place}")
    return place


def edf_header(head: bytes) -> dict[str, str]:
    """The keywords of one EDF header, in lower case."""
    pairs = re.findall(r"([\w .~-]+?)\s*=\s*(.*?)\s*;", head.decode("latin-1"))
    return {key.strip().lower(): value for key, value in pairs}


def _edf_size(header: dict[str, str]) -> int | None:
    for name in ("edf_binarysize", "size"):
        if header.get(name, "").isdigit():
            return int(header[name])
    sides = [value for name, value in header.items() if re.fullmatch(r"dim_\d", name)]
    width = _PIXEL_BYTES.get(header.get("datatype", "").lower())
    if width is None or not sides or not all(side.isdigit() for side in sides):
        return None
    return width * math.prod(map(int, sides))


def cbf_end(file: BinaryIO, length: int) -> int | None:
    """Where the image of a CBF file ends, its closing line included, None where that is not said.

    Raises:
        Unfinished: it is cut off.
    """
    file.seek(0)
    head = file.read(_MOST_HEADER)
    if not head.startswith(b"###CBF"):
        raise Unfinished("does not begin as a CBF")
    mark = head.find(_CBF_MARK)
    if mark < 0:
        raise Unfinished("is truncated within the header")
    stated = re.search(rb"X-Binary-Size:\s*(\d+)", head[:mark])
    if stated is None:
        return None
    end = mark + len(_CBF_MARK) + int(stated[1])
    file.seek(end)
    closing = file.read(1 << 14)
    found = closing.find(_CBF_END)
    if found < 0:
        raise Unfinished(f"is truncated: it has {length} bytes of {end + len(_CBF_END)} or more")
    return end + found + len(_CBF_END)
