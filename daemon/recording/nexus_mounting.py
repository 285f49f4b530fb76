"""What a result file says about how the detector is mounted, and which part of it is shown."""

from __future__ import annotations

import h5py

from daemon.recording.nexus_numbers import write_number
from daemon.recording.scan_header import ScanHeader


def write_mounting(detector: h5py.Group, header: ScanHeader) -> None:
    """Fill the NXdetector: binning, offsets of the pixels, and how to get there from a frame.

    Offsets are those of NXdetector: from the middle of the detector, in its own plane, along x
    (right) and y (down) of the mounted image.
    """
    mounting, frame_shape = header.mounting, header.frame_shape or header.shape
    write_number(detector, "binning_x", mounting.binning, "")
    write_number(detector, "binning_y", mounting.binning, "")
    if header.geometry is not None:
        pitch_m = header.geometry.pixel_size_m / mounting.binning
        lengths = mounting.mounted_shape(frame_shape)
        centres_px = mounting.centres_px(frame_shape)
        for name, length, centre_px in zip("yx", lengths, centres_px, strict=True):
            offsets_m = (centre_px - (length - 1) / 2) * pitch_m
            write_number(detector, f"{name}_pixel_offset", offsets_m, "m")
    steps = detector.create_group("mounting")
    steps.attrs["NX_class"] = "NXcollection"
    write_number(steps, "frame_shape", frame_shape, "px")
    write_number(steps, "rotation", mounting.rotation_deg, "deg")
    steps["flip_x"], steps["flip_y"] = mounting.flip_x, mounting.flip_y
    write_number(steps, "roi", mounting.bounds(frame_shape), "px")
    steps["roi"].attrs["long_name"] = "y0, y1, x0, x1 after rotation and flips, before binning"
    steps["binning_mode"] = mounting.binning_mode
