"""PSI array-1.0: headers as PSI's specification and areaDetector's ADZMQ write them.

github.com/paulscherrerinstitute/htypes (array-1.0.md, with its misspelt "endianess") and
NDPluginZMQ.cpp of github.com/paulscherrerinstitute/ADZMQ, whose stream operators are followed
letter by letter: up to 1.3 `htype` is a list and x comes first, from 1.4 on a text and x last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

EPICS_S = 1_162_464_000.25
"""areaDetector's time stamp: 2026-11-02 in seconds since 1990."""


def adzmq(image: NDArray[Any], frame: int, role: str, *, old: bool) -> list[bytes]:
    """What NDPluginZMQ sends of a 2-D array; the role is an attribute of the array."""
    height, width = image.shape
    htype, shape = ('["array-1.0"]', (width, height)) if old else ('"array-1.0"', (height, width))
    header = (
        f'{{"htype":{htype}, "type":"{image.dtype.name}", "shape":[{shape[0]},{shape[1]}], '
        f'"frame":{frame}, "timeStamp":{EPICS_S + frame:.17g}, "encoding":"", '
        f'"ndattr":{{"ColorMode":0,"role":"{role}","Gain":1.0000000000000001}}}}'
    )
    return [header.encode(), image.tobytes()]


def pco(image: NDArray[Any], frame: int, source: str) -> list[bytes]:
    """The specification's example of a PCO Edge."""
    height, width = image.shape
    header = (
        f'{{"htype":"array-1.0", "tags":[], "source":"{source}", "shape":[{height},{width}], '
        f'"frame":{frame}, "type":"{image.dtype.name}", "endianess":"little"}}'
    )
    return [header.encode(), image.tobytes()]


def series(source: str, images: Sequence[NDArray[Any]]) -> list[list[bytes]]:
    """Images of one source, whose counter does not begin at 0."""
    return [pco(image, 434 + number, source) for number, image in enumerate(images)]
