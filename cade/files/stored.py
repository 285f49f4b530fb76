"""One image as a file holds it, and the error for a file that holds none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cade.errors import CadeError
from cade.frames import Image, Role

MAX_PIXELS = 1 << 28
"""Largest image that is read (16384²): a damaged header must not claim all memory."""


class UnreadableFile(CadeError):  # noqa: N818 - named for what the user has: a file
    """A file that cannot be read as images; the message names the file and what is wrong.

    `index` is that of the image where only one is damaged: `read` may go on behind it. `hopeless`
    is a problem that no later try can find gone, such as a package that is not installed.
    """

    def __init__(
        self, path: Path, problem: str, *, index: int | None = None, hopeless: bool = False
    ) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
        self.index = index
        self.hopeless = hopeless


class Unfinished(Exception):  # noqa: N818 - a state, not an error
    """A file's own header says that something is still missing; the text says what."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """One image of a file.

    `data` is `(H, W)`, row = y down, native byte order, in the file's own number type; NaN is
    allowed. `role`, `timestamp_s` (Unix time) and `monitor` (the beam's, in any unit) are None
    where the file does not say.
    """

    data: Image
    role: Role | None = None
    timestamp_s: float | None = None
    monitor: float | None = None


def check_layout(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    """Refuse what is not an image or a stack of images, before its pixels are read.

    Raises:
        UnreadableFile: neither 2-D nor 3-D, a side of length 0, too large, or not real numbers.
    """
    if dtype.kind not in "uif":
        raise UnreadableFile(path, f"holds {dtype} values; images are integers or real floats")
    if len(shape) not in (2, 3):
        raise UnreadableFile(path, f"holds an array of shape {shape}; images are 2-D or 3-D")
    if 0 in shape:
        raise UnreadableFile(path, f"holds no pixels (shape {shape}); it may be unfinished")
    if math.prod(shape[-2:]) > MAX_PIXELS:
        raise UnreadableFile(
            path, f"claims images of shape {shape[-2:]}, above {MAX_PIXELS} pixels"
        )


def native(data: Image) -> Image:
    """The same values in this machine's byte order, as tensors need them."""
    return np.asarray(data, dtype=data.dtype.newbyteorder("="))
