"""Images of an HDF5 file that another program is still writing (SWMR: single writer, many readers).

**Which images are complete.** A longer dataset alone says little: a writer may extend it before it
writes, HDF5 reads what has not been written as the fill value, and a network file system may show
the length before the content. So an image counts as there when

1. its chunks have a place in the file that lies within the file's present length, and decompress,
2. areaDetector's `NDArrayUniqueId`, written behind the image, has its number; or, in a file
   without it, the next image has a place too, or the file has been quiet for a while, and
3. without that number: not every pixel has the fill value, unless a later image is there.

What no reader can tell: whether pixels of an uncompressed chunk that is being overwritten belong
together, in a file without `NDArrayUniqueId` whose writer pauses within an image.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from cade.files.nexus import image_datasets
from cade.files.nexus_columns import UNIQUE_ID, Columns, EpicsTimes
from cade.files.nexus_file import NexusFile
from cade.files.stored import StoredImage, UnreadableFile, check_layout, native
from cade.frames import Image

_LOOK_AHEAD = 4
"""Images behind one without content that are looked at before it is believed to be empty."""


class GrowingImages:
    """Reads images as they become complete; refreshed at every question.

    Opening a damaged file can hang within HDF5: use in a process that can be killed.

    Args:
        path: the file.
        within: links must not leave this folder.

    Raises:
        UnreadableFile: no images, or not in one dataset of 3 dimensions.
        OSError, RuntimeError, KeyError, ValueError: the file is damaged.
    """

    def __init__(self, path: Path, *, within: Path | None = None) -> None:
        self._nexus = NexusFile(path, within=within, swmr=True)
        try:
            self._data, is_only = next(image_datasets(self._nexus))
            columns = Columns(self._nexus)
            if not is_only or self._data.ndim != 3 or self._data.is_virtual or columns.key_each:
                raise UnreadableFile(path, "cannot be read before it is closed")
            self._role = columns.role(0)
            self._unique = next(filter(None, map(self._nexus.dataset, UNIQUE_ID)), None)
            self._times = EpicsTimes(self._nexus)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._nexus.close()

    def image(self, index: int, *, quiet: bool, settled: bool) -> StoredImage | None:
        """Image `index`, None as long as it is not complete.

        Args:
            index: counts from 0.
            quiet: the file has not changed for a while: the newest image is complete too.
            settled: nothing more will come: what has a place and a content is complete.

        Raises:
            UnreadableFile: this image is damaged (its `index` is set), or these are no images.
        """
        self._refresh()
        if index >= len(self._data) or not self._has_place(index):
            return None
        check_layout(self._nexus.path, self._data.shape, self._data.dtype)
        numbered = self._is_numbered(index)
        if not numbered and not settled:
            if self._unique is not None:
                return None
            if not quiet and not self._has_place(index + 1):
                return None
        data = self._pixels(index, final=quiet or settled)
        if data is None or not (numbered or self._is_written(data) or self._later(index)):
            return None
        return StoredImage(native(data), self._role, self._times.at(index))

    def count(self) -> int:
        """How many images are complete now, from the first on."""
        return next(
            i for i in itertools.count() if self.image(i, quiet=True, settled=False) is None
        )

    def is_last(self, index: int) -> bool:
        """Whether the file can hold no image `index`: all it was made for are there."""
        most = self._data.maxshape[0]
        return most is not None and index >= most

    def _refresh(self) -> None:
        for dataset in (self._data, self._unique, *self._times.columns):
            if dataset is not None:
                dataset.refresh()

    def _has_place(self, index: int) -> bool:
        """Whether the file is long enough to hold the whole image, and HDF5 has put it there."""
        data = self._data
        if index >= len(data):
            return False
        length = Path(data.file.filename).stat().st_size
        if data.chunks is None:
            start, size = data.id.get_offset(), data.dtype.itemsize * math.prod(data.shape[1:])
            return start is not None and start + (index + 1) * size <= length
        height, width = data.chunks[1:]
        corners = itertools.product(range(0, data.shape[1], height), range(0, data.shape[2], width))
        chunks = (data.id.get_chunk_info_by_coord((index, y, x)) for y, x in corners)
        return all(c.byte_offset is not None and c.byte_offset + c.size <= length for c in chunks)

    def _is_numbered(self, index: int) -> bool:
        """Whether areaDetector has noted the number of this image, or of a later one."""
        if self._unique is None or self._unique.ndim != 1:
            return False
        return bool(np.any(self._unique[index:] != self._unique.fillvalue))

    def _pixels(self, index: int, *, final: bool) -> Image | None:
        try:
            data: Any = self._data[index]
        except (OSError, RuntimeError) as error:  # half of a compressed chunk
            if not final:
                return None
            cause = " ".join(str(error).split())
            problem = f"image {index} is damaged ({cause})"
            raise UnreadableFile(self._nexus.path, problem, index=index) from error
        return np.asarray(data)

    def _is_written(self, data: Image) -> bool:
        fill = self._data.fillvalue
        return bool((data != fill).any()) and bool(data.any())

    def _later(self, index: int) -> bool:
        """Whether an image behind this one has content."""
        for later in range(index + 1, index + 1 + _LOOK_AHEAD):
            if not self._has_place(later):
                return False
            data = self._pixels(later, final=False)
            if data is not None and self._is_written(data):
                return True
        return False
