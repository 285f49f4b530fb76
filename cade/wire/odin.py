"""Odin's LiveViewPlugin: a JSON header and the image's bytes.

Header as `LiveViewPlugin::pass_live_frame` of github.com/odin-detector/odin-data writes it. It is a
live view, lossy by design: it sends every Nth frame, or so many a second. There is no start and no
end: another acquisition, or a frame number that goes back, begins a series.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from cade.frames import Frame, Role, SeriesEnd, SeriesStart
from cade.wire import fields
from cade.wire.codec import Buffer, Message, WireError
from cade.wire.compression import compress
from cade.wire.implied_series import ImpliedSeries, implied_start
from cade.wire.json_part import json_object
from cade.wire.options import DecoderOptions, EncoderOptions
from cade.wire.raw_image import blob_of, decode_blob

COMPRESSIONS = {"none": None, "LZ4": "lz4", "BSLZ4": "bslz4"}
"""By the names of odin-data, which also has blosc."""


class OdinDecoder:
    """Header and bytes to events; `channel` is the dataset that is taken."""

    def __init__(self, options: DecoderOptions) -> None:
        self._options = options
        self._series = ImpliedSeries("odin")
        self._dataset = ""

    def forget(self) -> None:
        """The next image begins a series."""
        self._series.forget()

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        """The image of one message, after a `SeriesStart` where a series begins with it.

        An image of another dataset is none of the series: it gives nothing.

        Raises:
            WireError: the message is malformed or hostile.
        """
        options = self._options
        header_data, blob = fields.views(parts, options.max_bytes, 2)
        header = json_object(header_data)
        number = fields.integer(header, "frame_num")
        acquisition = fields.text(header, "acquisition_id")
        dataset = fields.text(header, "dataset") if header.get("dataset") is not None else ""
        # Without a wish, what the first image of a series is of is taken.
        known = self._dataset if acquisition == self._series.source else dataset
        if dataset != (known if options.channel is None else options.channel):
            return ()
        image = _image(header, blob, options.max_bytes)
        role = fields.role(header.get(options.role_key), options.role_key)
        begins = self._series.take(acquisition, number)
        self._dataset = dataset
        frame = Frame(
            series_id=self._series.series_id,
            image_id=self._series.image_id(),
            data=image,
            timestamp_s=options.clock(),
            role=role,
            origin=options.origin,
        )
        return (implied_start(frame, lossy=True), frame) if begins else (frame,)


def _image(header: fields.Fields, blob: memoryview, max_bytes: int) -> np.ndarray[Any, Any]:
    """`(H, W)`; see `decode_blob`."""
    name = header.get("compression", "none")
    if not isinstance(name, str) or name not in COMPRESSIONS:
        raise WireError(f"compression {fields.shown(name)} is not known: use none, LZ4 or BSLZ4")
    if fields.integer(header, "dsize") != len(blob):
        raise WireError(f"the image's data has {len(blob)} bytes, not {header['dsize']}")
    single = header.get("dtype") == "float"  # what odin-data calls 32 bits
    dtype = np.dtype("<f4") if single else fields.pixel_type(header, "dtype")
    shape = fields.image_shape(_numbers(header.get("shape")), "shape")
    return decode_blob(blob, shape, dtype, max_bytes, compression=COMPRESSIONS[name])


def _numbers(dimensions: object) -> object:
    """The dimensions as numbers: they are sent as texts."""
    if not isinstance(dimensions, list):
        return dimensions
    return [
        int(text) if isinstance(text, str) and len(text) < 20 and text.isdecimal() else text
        for text in dimensions
    ]


class OdinEncoder:
    """Frames to header and bytes; a series shows only as another acquisition."""

    def __init__(self, options: EncoderOptions) -> None:
        self._options = options
        self._role: Role | None = None

    def encode(self, message: Message) -> tuple[Buffer, ...]:
        """Header and blob of a `Frame`, nothing for the other events."""
        match message:
            case SeriesStart():
                self._role = message.role
                return ()
            case SeriesEnd():
                return ()
        # The header has no byte order: odin runs on little-endian machines.
        data = message.data.astype(message.data.dtype.newbyteorder("<"))
        compression = self._options.compression
        blob = blob_of(data) if compression is None else compress(data, compression)
        header: dict[str, object] = {
            "frame_num": message.image_id,
            "acquisition_id": message.series_id,
            "dtype": "float" if data.dtype == np.float32 else data.dtype.name,
            "dsize": len(blob),
            "dataset": "data",
            "compression": "none" if compression is None else compression.upper(),
            "shape": [str(size) for size in data.shape],
        }
        role = message.role or self._role
        if role is not None:
            header[self._options.role_key] = role.value
        return json.dumps(header).encode(), blob
