"""MAX IV's STINS: as tests/stream1.py of github.com/maxiv-science/streaming-receiver sends it.

The same sender is in dranspose (AcquisitionSocket): pyzmq's send_json, then the blob.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bitshuffle
from numpy.typing import NDArray
from zmq.utils import jsonapi


def series(
    filename: str, images: Sequence[NDArray[Any]], role: str, algorithm: str | None = "bslz4"
) -> list[list[bytes]]:
    """Header with its metadata, images, series_end; Pilatus' bslz4 has no header of its own."""
    meta = {"exptime": 0.0125, "photon_energy": 30_000, "nimages": len(images), "role": role}
    header = {"htype": "header", "filename": filename, "msg_number": 0}
    messages = [[jsonapi.dumps(header), jsonapi.dumps(meta)]]
    for number, image in enumerate(images):
        content = {
            "htype": "image", "frame": number, "shape": image.shape, "type": image.dtype.name,
            "compression": algorithm or "none", "msg_number": number + 1,
        }  # fmt: skip
        blob = bitshuffle.compress_lz4(image).tobytes() if algorithm else image.tobytes()
        messages.append([jsonapi.dumps(content), blob])
    end = {"htype": "series_end", "msg_number": len(images) + 1}
    return [*messages, [jsonapi.dumps(end)]]
