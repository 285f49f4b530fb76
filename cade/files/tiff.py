"""Images out of TIFF files."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import tifffile

from cade.files.nexus_columns import EPICS_EPOCH_S
from cade.files.stored import StoredImage, UnreadableFile, check_layout, native
from cade.frames import Image

# tifffile logs damage and reads on; it is reported here, once, as an error that names the file.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_DATE = 306
_EPICS_S, _EPICS_NS = 65002, 65003
"""Private tags of areaDetector's NDFileTIFF."""


def read_tiff(path: Path, *, start: int = 0) -> Iterator[StoredImage]:
    """Images `(H, W)`, one a page, from number `start` on.

    Raises:
        UnreadableFile: truncated, colour, or not images.
    """
    # is_ome: an OME header may name other files, which must not be opened on its say-so.
    with tifffile.TiffFile(path, is_ome=False) as tiff:
        if len(tiff.pages) == 0:
            raise UnreadableFile(path, "holds no page; it may be unfinished")
        _check_page_chain(path, tiff)
        whole = tiff.series[0]
        if len(tiff.pages) == 1 and whole.size > tiff.pages[0].size:
            # ImageJ and others describe a whole uncompressed stack with its first page only.
            check_layout(path, whole.shape, np.dtype(whole.dtype))
            if whole.nbytes > tiff.filehandle.size:
                raise UnreadableFile(path, f"is truncated: shape {whole.shape} does not fit in it")
            yield from planes(path, whole.asarray(), start)
            return
        for index in range(start, len(tiff.pages)):
            page = tiff.pages[index]
            if len(page.shape) != 2:
                raise UnreadableFile(
                    path, f"has colour pages {page.shape}; store one grey image in each page"
                )
            check_layout(path, page.shape, np.dtype(page.dtype))
            yield StoredImage(_pixels(path, page, index), timestamp_s=_epics_time_s(page))


def read_tiff_time(path: Path) -> float | None:
    """When the first page was taken [s, Unix time]; DateTime is taken as local time."""
    with tifffile.TiffFile(path, is_ome=False) as tiff:
        page = tiff.pages.first
        time_s = _epics_time_s(page)
        if time_s is not None:
            return time_s
        date = page.tags.valueof(_DATE)
        try:
            return datetime.strptime(str(date), "%Y:%m:%d %H:%M:%S").timestamp()
        except ValueError:
            return None


def planes(path: Path, stack: Image, start: int) -> Iterator[StoredImage]:
    """The images of an array in memory from number `start` on."""
    check_layout(path, stack.shape, stack.dtype)
    for plane in (stack if stack.ndim == 3 else stack[np.newaxis])[start:]:
        yield StoredImage(native(plane))


def _pixels(path: Path, page: tifffile.TiffPage | tifffile.TiffFrame, index: int) -> Image:
    try:
        data: Image = page.asarray()
    except Exception as error:  # its codecs raise almost every built-in exception
        cause = " ".join(str(error).split())
        problem = f"image {index} is damaged ({type(error).__name__}: {cause})"
        raise UnreadableFile(path, problem, index=index) from error
    return native(data)


def _epics_time_s(page: tifffile.TiffPage | tifffile.TiffFrame) -> float | None:
    tags = page.aspage().tags
    seconds, nanoseconds = tags.valueof(_EPICS_S), tags.valueof(_EPICS_NS)
    if not isinstance(seconds, int) or not isinstance(nanoseconds, int) or seconds <= 0:
        return None
    return seconds + nanoseconds * 1e-9 + EPICS_EPOCH_S


def _check_page_chain(path: Path, tiff: tifffile.TiffFile) -> None:
    """Every page names the next; tifffile silently stops at a next one beyond the end."""
    last, layout, file = tiff.pages[len(tiff.pages) - 1], tiff.tiff, tiff.filehandle
    file.seek(last.offset)
    (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(tags * layout.tagsize, 1)
    (following,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    if following != 0:
        raise UnreadableFile(path, f"is truncated after page {len(tiff.pages)}")
