"""PSI array-1.0, also sent by areaDetector's ADZMQ: a JSON header and the image's bytes.

Header as in github.com/paulscherrerinstitute/htypes. The format has no start and no end: a new
source, or a frame counter that goes back, begins a series.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cade.frames import Frame, Role, SeriesStart
from cade.wire import fields
from cade.wire.codec import MAX_MESSAGE_BYTES, Buffer, Message, WireError

HTYPE = "array-1.0"
MAX_HEADER_BYTES = 1 << 20
EPICS_EPOCH_S = 631_152_000.0
"""1990-01-01 in Unix time, from which areaDetector counts."""


class Array10Decoder:
    """Header and bytes to events; see `cade.wire.decoder` for the arguments."""

    def __init__(
        self,
        *,
        role_key: str = "role",
        max_bytes: int = MAX_MESSAGE_BYTES,
        origin: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._role_key = role_key
        self._max_bytes = max_bytes
        self._origin = origin
        self._clock = clock
        self._source: str | None = None
        self._series_count = 0
        self._series_id = ""
        self._first = 0
        self._last = 0

    def forget(self) -> None:
        """The next image begins a series."""
        self._source = None

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        """The image of one message, after a `SeriesStart` where a series begins with it.

        `Frame.image_id` counts from the series' first image.

        Raises:
            WireError: the message is malformed or hostile.
        """
        header_data, blob = fields.views(parts, 2, self._max_bytes)
        header = _header(header_data)
        frame = fields.integer(header, "frame")
        source = fields.text(header, "source") if header.get("source") is not None else ""
        image = _image(header, blob, self._max_bytes)
        role = self._role(header)
        timestamp_s = _timestamp_s(header, self._clock())
        start: tuple[SeriesStart, ...] = ()
        if source != self._source or frame < self._last:
            start = (self._begin(source, frame, image, role, timestamp_s),)
        self._last = frame
        return *start, Frame(
            series_id=self._series_id,
            image_id=frame - self._first,
            data=image,
            timestamp_s=timestamp_s,
            role=role,
            origin=self._origin,
        )

    def _begin(
        self,
        source: str,
        frame: int,
        image: np.ndarray[Any, Any],
        role: Role | None,
        timestamp_s: float,
    ) -> SeriesStart:
        self._source = source
        self._first = frame
        self._series_count += 1
        self._series_id = f"{source or HTYPE}-{self._series_count}"
        return SeriesStart(
            series_id=self._series_id,
            start_time_s=timestamp_s,
            shape=(image.shape[0], image.shape[1]),
            dtype=image.dtype.name,
            role=role,
        )

    def _role(self, header: fields.Fields) -> Role | None:
        """The role in the header, or else among areaDetector's attributes."""
        key = self._role_key
        if header.get(key) is not None:
            return fields.role(header[key], key)
        attributes = header.get("ndattr")
        if isinstance(attributes, dict):
            return fields.role(attributes.get(key), f"ndattr[{key!r}]")
        return None


def _header(data: memoryview) -> dict[str, object]:
    if len(data) > MAX_HEADER_BYTES:
        raise WireError(f"a header of {len(data)} bytes is larger than {MAX_HEADER_BYTES}")
    try:
        header = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise WireError(f"the header is no JSON ({error!s:.80})") from None
    if not isinstance(header, dict):
        raise WireError(f"the header must be a JSON object, not {fields.shown(header)}")
    if header.get("htype") not in (HTYPE, [HTYPE]):
        raise WireError(f"htype must be {HTYPE}, not {fields.shown(header.get('htype'))}")
    return header


def _image(header: fields.Fields, blob: memoryview, max_bytes: int) -> np.ndarray[Any, Any]:
    """`(H, W)` read-only view of the blob, copied only to change the byte order."""
    if header.get("encoding") not in (None, "", "none", "raw"):
        raise WireError(
            f"encoding {fields.shown(header['encoding'])} is not supported: "
            "switch the sender's compression off"
        )
    dimensions = header.get("shape")
    if isinstance(header.get("htype"), list) and isinstance(dimensions, list):
        dimensions = dimensions[::-1]  # ADZMQ before 1.4: htype is a list and x comes first
    shape = fields.image_shape(dimensions, "shape")
    dtype = _dtype(header)
    size = fields.image_bytes(shape, dtype, max_bytes)
    if len(blob) != size:
        raise WireError(f"the image's data has {len(blob)} bytes, not {size}")
    image = np.frombuffer(blob, dtype).reshape(shape)
    if not dtype.isnative:
        image = image.astype(dtype.newbyteorder("="))
    image.flags.writeable = False
    return image


def _dtype(header: fields.Fields) -> np.dtype[Any]:
    name = fields.text(header, "type")
    if name not in fields.DTYPES:
        raise WireError(f"type {fields.shown(name)} is not known")
    order = header.get("endianness", header.get("endianess", "little"))  # some senders misspell it
    if order not in ("little", "big"):
        raise WireError(f"endianness must be little or big, not {fields.shown(order)}")
    return np.dtype(name).newbyteorder("<" if order == "little" else ">")


def _timestamp_s(header: fields.Fields, now_s: float) -> float:
    """Unix time of the image: areaDetector counts from 1990, others from 1970.

    The two differ by twenty years, so the one nearer to now is meant.
    """
    value = fields.number(header, "timeStamp")
    if value is None:
        return now_s
    return min((value, value + EPICS_EPOCH_S), key=lambda time_s: abs(time_s - now_s))


class Array10Encoder:
    """Frames to header and bytes; a series shows only as another source.

    See `cade.wire.encoder` for the arguments.
    """

    def __init__(self, *, role_key: str = "role") -> None:
        self._role_key = role_key
        self._role: Role | None = None

    def encode(self, message: Message) -> tuple[Buffer, ...]:
        """Header and blob of a `Frame`, nothing for the other events."""
        if isinstance(message, SeriesStart):
            self._role = message.role
        if not isinstance(message, Frame):
            return ()
        data = np.ascontiguousarray(message.data)
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
        return json.dumps(header).encode(), data.reshape(-1).view(np.uint8).data
