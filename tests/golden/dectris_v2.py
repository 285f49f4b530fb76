"""DECTRIS Stream V2: every field of github.com/dectris/documentation/stream_v2/README.md, by cbor2.

The pixels are HDF5 chunks inside tag 56500, as cbor/dectris-compression-tag.md there says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cbor2
import numpy as np
from cbor2 import CBORTag
from numpy.typing import NDArray

from tests.golden.hdf5_chunk import hdf5_chunk

CHANNELS = ("threshold_1", "threshold_2")
HZ = 50_000_000
_TAGS = {"|u1": 64, "<u2": 69, "<u4": 70, "<f4": 85, ">u2": 65, ">u4": 66}


def array(image: NDArray[Any], algorithm: str | None = None) -> CBORTag:
    """MultiDimArray of RFC 8746: tag 40, dimensions, typed array."""
    content: object = image.tobytes()
    if algorithm is not None:
        size = image.itemsize if algorithm == "bslz4" else 0
        content = CBORTag(56500, [algorithm, size, hdf5_chunk(image, algorithm)])
    return CBORTag(40, [list(image.shape), CBORTag(_TAGS[image.dtype.str], content)])


def start(source: str, image: NDArray[Any], count: int, role: str) -> dict[str, Any]:
    """The start message with header_detail "all"."""
    height, width = image.shape
    return {
        "type": "start",
        "arm_date": CBORTag(0, "2026-11-02T11:00:00.123456789+01:00"),
        "beam_center_x": 1.5,
        "beam_center_y": 2.5,
        "channels": list(CHANNELS),
        "count_time": 0.0125,
        "countrate_correction_enabled": True,
        "countrate_correction_lookup_table": CBORTag(70, np.arange(9, dtype="<u4").tobytes()),
        "detector_description": "DECTRIS EIGER2 CdTe 500K",
        "detector_serial_number": "E-01-0001",
        "detector_translation": [0.0, 0.0, 0.25],
        "flatfield": {name: array(np.full(image.shape, 1.25, "<f4")) for name in CHANNELS},
        "flatfield_enabled": True,
        "frame_time": 0.0126,
        "goniometer": {"omega": {"increment": 0.1, "start": 0.0}, "phi": {"start": 1.0}},
        "image_dtype": image.dtype.name,
        "image_size_x": width,
        "image_size_y": height,
        "incident_energy": 30_000.0,
        "incident_wavelength": 0.41328,
        "number_of_images": count,
        "pixel_mask": {name: array(np.eye(height, width, dtype="<u4")) for name in CHANNELS},
        "pixel_mask_enabled": True,
        "pixel_size_x": 7.5e-05,
        "pixel_size_y": 7.5e-05,
        "saturation_value": 65534,
        "sensor_material": "CdTe",
        "sensor_thickness": 7.5e-04,
        "series_id": 12,
        "series_unique_id": source,
        "threshold_energy": {"threshold_1": 15_000.0, "threshold_2": 45_000.0},
        "user_data": {"role": role},
        "virtual_pixel_interpolation_enabled": True,
    }


def series(
    source: str, images: Sequence[NDArray[Any]], role: str, algorithm: str | None = "bslz4"
) -> list[list[bytes]]:
    """Start, images and end; the second threshold's images are the first's, negated bit by bit."""
    common = {"series_id": 12, "series_unique_id": source}
    messages: list[dict[str, Any]] = [start(source, images[0], len(images), role)]
    messages += [
        {
            "type": "image",
            "data": dict(zip(CHANNELS, (array(image, algorithm), array(~image)), strict=True)),
            "image_id": number,
            "real_time": [625_000, HZ],
            "series_date": CBORTag(0, "2026-11-02T10:00:01Z"),
            "start_time": [number * 630_000, HZ],
            "stop_time": [number * 630_000 + 625_000, HZ],
            "user_data": None,
            **common,
        }
        for number, image in enumerate(images)
    ]
    messages.append({"type": "end", **common})
    return [[cbor2.dumps(message)] for message in messages]
