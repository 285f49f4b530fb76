"""DECTRIS SIMPLON V1: the parts of its API reference, chapter "Stream", put together by hand.

Spelling, order and number formats as the detectors and public emulators of them send (eigersim of
ALBA, ansto-simplon-api). The pixels are HDF5 chunks: "bs16-lz4<" is the filter's own framing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import lz4.block
import numpy as np
from numpy.typing import NDArray

from tests.golden.hdf5_chunk import hdf5_chunk

_CONFIG = (
    '{"auto_summation":true,"beam_center_x":0,"beam_center_y":0,"bit_depth_image":16,'
    '"compression":"bslz4","count_time":0.0125,"countrate_correction_count_cutoff":65534,'
    '"data_collection_date":"2026-11-02T11:00:00.123456+01:00","description":"Dectris Eiger",'
    '"detector_distance":0.25,"detector_number":"E-01-0001","frame_time":0.0126,"nimages":%d,'
    '"ntrigger":1,"photon_energy":30000,"sensor_material":"CdTe","sensor_thickness":0.00075,'
    '"trigger_mode":"ints","wavelength":0.41328,"x_pixel_size":7.5e-05,'
    '"x_pixels_in_detector":%d,"y_pixel_size":7.5e-05,"y_pixels_in_detector":%d}'
)


def encoded(image: NDArray[Any], algorithm: str | None) -> tuple[str, bytes]:
    """The field `encoding`, and the blob; "lz4<" is one LZ4 block without a header."""
    if algorithm == "bslz4":
        return f"bs{8 * image.itemsize}-lz4<", hdf5_chunk(image, "bslz4")
    if algorithm == "lz4":
        return "lz4<", lz4.block.compress(image.tobytes(), store_size=False)
    return "<", image.tobytes()


def series(
    number: int, images: Sequence[NDArray[Any]], role: str, algorithm: str | None = "bslz4"
) -> list[list[bytes]]:
    """Header with header_detail "all" and an appendix, images of 4 parts, end."""
    height, width = images[0].shape
    flatfield, mask = np.full((height, width), 1.25, "<f4"), np.eye(height, width, dtype="<u4")
    header = [
        b'{"header_detail":"all","htype":"dheader-1.0","series":%d}' % number,
        (_CONFIG % (len(images), width, height)).encode(),
        b'{"htype":"dflatfield-1.0","shape":[%d,%d],"type":"float32"}' % (width, height),
        flatfield.tobytes(),
        b'{"htype":"dpixelmask-1.0","shape":[%d,%d],"type":"uint32"}' % (width, height),
        mask.tobytes(),
        b'{"htype":"dcountrate_table-1.0","shape":[2,3],"type":"float32"}',
        bytes(24),
        b'{"role":"%s"}' % role.encode(),
    ]
    messages = [header]
    for place, image in enumerate(images):
        encoding, blob = encoded(image, algorithm)
        description = (
            f'{{"encoding":"{encoding}","htype":"dimage_d-1.0","shape":[{width},{height}],'
            f'"size":{len(blob)},"type":"{image.dtype.name}"}}'
        ).encode()
        digest = hashlib.md5(description, usedforsecurity=False).hexdigest().encode()
        begun = place * 12_600_000
        messages.append([
            b'{"frame":%d,"hash":"%s","htype":"dimage-1.0","series":%d}' % (place, digest, number),
            description,
            blob,
            b'{"htype":"dconfig-1.0","real_time":12500000,"start_time":%d,"stop_time":%d}'
            % (begun, begun + 12_500_000),
        ])  # fmt: skip
    return [*messages, [b'{"htype":"dseries_end-1.0","series":%d}' % number]]
