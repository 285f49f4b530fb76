"""The groups, datasets and attributes of a result file: plain NeXus, made before the first row.

Everything is created here because a file in SWMR mode takes no new objects or attributes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import h5py
import numpy as np

from cade.geometry import Geometry
from cade.version import __version__
from daemon.recording.nexus_mounting import write_mounting
from daemon.recording.nexus_numbers import write_number
from daemon.recording.nexus_process import create_processes
from daemon.recording.nexus_pvs import create_frame_readings, frame_columns, write_series_readings
from daemon.recording.result_fields import COLUMNS, TEXT_BYTES, written_groups, written_images
from daemon.recording.scan_header import ScanHeader
from daemon.settings import OutputField, OutputSettings

COLUMN_CHUNK = 256
"""Rows in a chunk of the datasets with one value a frame."""


def create_layout(file: h5py.File, header: ScanHeader, settings: OutputSettings) -> None:
    """Fill an empty file with everything but the rows."""
    groups = written_groups(header, settings)
    file.attrs.update(
        {
            "NX_class": "NXroot",
            "default": "entry",
            "creator": "cade-daemon",
            "creator_version": __version__,
        }
    )
    entry = _group(file, "entry", "NXentry")
    if groups:
        entry.attrs["default"] = groups[0]
    entry["title"] = entry["entry_identifier"] = header.series_id
    entry["experiment_identifier"] = settings.proposal
    entry["start_time"] = iso_time(header.start_time_s)
    entry.create_dataset("end_time", (), h5py.string_dtype("utf-8", TEXT_BYTES))
    _create_frames(entry, header)
    _create_rejected(entry)
    _create_data(entry, header, settings, groups)
    _create_instrument(entry, header)
    sample_name = header.metadata.sample_name or header.series_id
    _group(entry, "sample", "NXsample")["name"] = sample_name
    write_series_readings(entry, header.metadata)
    create_processes(entry, header, settings, iso_time(header.start_time_s))


def iso_time(time_s: float) -> str:
    """Unix time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(time_s, UTC).isoformat()


def _group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group


def _create_column(group: h5py.Group, name: str, dtype: Any, units: str | None) -> h5py.Dataset:
    column = group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(COLUMN_CHUNK,))
    if units is not None:
        column.attrs["units"] = units
    return column


def _create_frames(entry: h5py.Group, header: ScanHeader) -> None:
    frames = _group(entry, "frames", "NXcollection")
    for column in (*COLUMNS, *frame_columns(header.metadata)):
        _create_column(frames, column.name, column.dtype, column.units)
    create_frame_readings(frames, header.metadata)
    frames["timestamp"].attrs["start"] = "1970-01-01T00:00:00Z"
    _create_column(frames, "image_id", np.int64, "")


def _create_rejected(entry: h5py.Group) -> None:
    rejected = _group(entry, "rejected", "NXcollection")
    _create_column(rejected, "reason", h5py.string_dtype("utf-8", TEXT_BYTES), None)
    _create_column(rejected, "image_id", np.int64, "")


def _create_data(
    entry: h5py.Group,
    header: ScanHeader,
    settings: OutputSettings,
    groups: tuple[OutputField, ...],
) -> None:
    images = written_images(header, settings)
    axes = _create_axes(entry, header)
    for name in groups:
        data = _group(entry, name, "NXdata")
        members = [field for field in images if field.group == name]
        # Displacement and refraction have x and y as signals, so their axes need other names.
        prefix = "position_" if len(members) > 1 else ""
        names = ["frame", f"{prefix}y", f"{prefix}x"]
        data.attrs["signal"] = members[0].name
        data.attrs["axes"] = names
        if len(members) > 1:
            data.attrs["auxiliary_signals"] = [members[1].name]
        for axis_name, axis in zip(names, axes, strict=True):
            data[axis_name] = axis
        for field in members:
            _create_images(data, field.name, header.shape, settings).attrs.update(
                {"units": field.units, "long_name": field.long_name}
            )


def _create_axes(
    entry: h5py.Group, header: ScanHeader
) -> tuple[h5py.Dataset, h5py.Dataset, h5py.Dataset]:
    """Axes frame, y and x as datasets that every NXdata links to.

    The origin is the first pixel of the whole mounted image, whatever region of it is shown.
    """
    mounting, pitch, units = header.mounting, 1.0, "px"
    if header.geometry is not None:
        pitch, units = header.geometry.sample_pixel_m / mounting.binning, "m"
    centres_px = mounting.centres_px(header.frame_shape or header.shape)
    y, x = (entry.create_dataset(None, data=centre_px * pitch) for centre_px in centres_px)
    y.attrs.update({"units": units, "long_name": "y in the sample plane, down"})
    x.attrs.update({"units": units, "long_name": "x in the sample plane, right"})
    return entry["frames/image_id"], y, x


def _create_images(
    data: h5py.Group, name: str, shape: tuple[int, int], settings: OutputSettings
) -> h5py.Dataset:
    return data.create_dataset(
        name,
        (0, *shape),
        np.float32,
        maxshape=(None, *shape),
        chunks=(1, *shape),
        fillvalue=np.nan,
        **_filter(settings),
    )


def _filter(settings: OutputSettings) -> dict[str, Any]:
    if settings.compression == "gzip":
        return {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    if settings.compression == "none":
        return {}
    import hdf5plugin

    return dict(hdf5plugin.Bitshuffle(cname="lz4"))


def _create_instrument(entry: h5py.Group, header: ScanHeader) -> None:
    instrument = _group(entry, "instrument", "NXinstrument")
    detector = _group(instrument, "detector", "NXdetector")
    source = _group(instrument, "source", "NXsource")
    source["probe"] = "x-ray"
    write_mounting(detector, header)
    if header.exposure_s is not None:
        write_number(detector, "count_time", header.exposure_s, "s")
    if header.geometry is None:
        return
    _write_geometry(instrument, header.geometry)


def _write_geometry(instrument: h5py.Group, geometry: Geometry) -> None:
    detector, source = instrument["detector"], instrument["source"]
    sample_distance_m = geometry.sample_distance_m or geometry.distance_m
    write_number(detector, "x_pixel_size", geometry.pixel_size_m, "m")
    write_number(detector, "y_pixel_size", geometry.pixel_size_m, "m")
    write_number(detector, "distance", sample_distance_m, "m")
    # NeXus counts distances from the sample, negative upstream; a parallel beam comes from -inf.
    write_number(source, "distance", -geometry.source_distance_m, "m")
    beam = _group(instrument, "beam", "NXbeam")
    write_number(beam, "incident_energy", geometry.energy_ev, "eV")
    write_number(beam, "incident_wavelength", geometry.wavelength_m, "m")
    write_number(instrument, "propagation_distance", geometry.distance_m, "m")
    write_number(instrument, "source_distance", geometry.source_distance_m, "m")
    write_number(instrument, "magnification", geometry.magnification, "")
    instrument["diffuser"] = geometry.diffuser
