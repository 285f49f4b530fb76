"""PSI array-1.0, also sent by areaDetector's ADZMQ: a JSON header and the image's bytes.

Header as in github.com/paulscherrerinstitute/htypes. The format has no start and no end: a new
source, or a frame counter that goes back, begins a series.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from cade.frames import Frame, Role, SeriesEnd, SeriesStart
from cade.wire import fields
from cade.wire.codec import Buffer, Message, WireError
from cade.wire.implied_series import ImpliedSeries, implied_start
from cade.wire.json_part import json_object
from cade.wire.options import DecoderOptions, EncoderOptions
from cade.wire.raw_image import blob_of, decode_blob

HTYPE = "array-1.0"
EPICS_EPOCH_S = 631_152_000.0
"""1990-01-01 in Unix time, from which areaDetector counts."""


class Array10Decoder:
    """Header and bytes to events."""

    def __init__(self, options: DecoderOptions) -> None:
        self._options = options
        self._series = ImpliedSeries(HTYPE)

    def forget(self) -> None:
        """The next image begins a series."""
        self._series.forget()

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        """The image of one message, after a `SeriesStart` where a series begins with it.

        `Frame.image_id` counts from the series' first image.

        Raises:
            WireError: the message is malformed or hostile.
        """
        header_data, blob = fields.views(parts, self._options.max_bytes, 2)
        header = _header(header_data)
        number = fields.integer(header, "frame")
        source = fields.text(header, "source") if header.get("source") is not None else ""
        image = _image(header, blob, self._options.max_bytes)
        role = self._role(header)
        timestamp_s = _timestamp_s(header, self._options.clock())
        begins = self._series.take(source, number, fields.number(header, "timeStamp"))
        frame = Frame(
            series_id=self._series.series_id,
            image_id=self._series.image_id(),
            data=image,
            timestamp_s=timestamp_s,
            role=role,
            origin=self._options.origin,
        )
        return (implied_start(frame), frame) if begins else (frame,)

    def _role(self, header: fields.Fields) -> Role | None:
        """The role in the header, or else among areaDetector's attributes."""
        key = self._options.role_key
        if header.get(key) is not None:
            return fields.role(header[key], key)
        attributes = header.get("ndattr")
        if isinstance(attributes, dict):
            return fields.role(attributes.get(key), f"ndattr[{key!r}]")
        return None


def _header(data: memoryview) -> dict[str, object]:
    header = json_object(data)
    if header.get("htype") not in (HTYPE, [HTYPE]):
        raise WireError(f"htype must be {HTYPE}, not {fields.shown(header.get('htype'))}")
    return header


def _image(header: fields.Fields, blob: memoryview, max_bytes: int) -> np.ndarray[Any, Any]:
    """`(H, W)`; see `decode_blob`."""
    if header.get("encoding") not in (None, "", "none", "raw"):
        raise WireError(
            f"encoding {fields.shown(header['encoding'])} is not supported: "
            "switch the sender's compression off"
        )
    # ADZMQ before 1.4: htype is a list and x comes first
    old = isinstance(header.get("htype"), list)
    shape = (fields.image_shape_xy if old else fields.image_shape)(header.get("shape"), "shape")
    order = header.get("endianness", header.get("endianess", "little"))  # some senders misspell it
    if order not in ("little", "big"):
        raise WireError(f"endianness must be little or big, not {fields.shown(order)}")
    dtype = fields.pixel_type(header, "type", "<" if order == "little" else ">")
    return decode_blob(blob, shape, dtype, max_bytes)


def _timestamp_s(header: fields.Fields, now_s: float) -> float:
    """Unix time of the image: areaDetector counts from 1990, others from 1970.

    The two differ by twenty years, so the one nearer to now is meant.
    """
    value = fields.number(header, "timeStamp")
    if value is None:
        return now_s
    return min((value, value + EPICS_EPOCH_S), key=lambda time_s: abs(time_s - now_s))


class Array10Encoder:
    """Frames to header and bytes; a series shows only as another source."""

    def __init__(self, options: EncoderOptions) -> None:
        self._role_key = options.role_key
        self._role: Role | None = None

    def encode(self, message: Message) -> tuple[Buffer, ...]:
        """Header and blob of a `Frame`, nothing for the other events."""
        match message:
            case SeriesStart():
                self._role = message.role
                return ()
            case SeriesEnd():
                return ()
        data = message.data
        role = message.role or self._role
        header: dict[str, object] = {
            "htype": HTYPE,
            "shape": list(data.shape),
            "type": data.dtype.newbyteorder("=").name,
            "endianness": "little" if data.dtype.str[0] in "<|" else "big",
            "frame": message.image_id,
            "source": message.series_id,
            "encoding": "",
            "timeStamp": message.timestamp_s,
        }
        if role is not None:
            header[self._role_key] = role.value
        return json.dumps(header).encode(), blob_of(data)
