"""Files that appear in a watched folder as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tifffile
from numpy.typing import NDArray


def put_files(folder: Path, images: Iterable[NDArray[Any]], first: int = 0) -> None:
    """Write and rename one TIFF file an image, numbered from `first`."""
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images, start=first):
        part = folder / f".{number}.part"
        tifffile.imwrite(part, image)
        part.rename(folder / f"image_{number:03d}.tif")
