"""MAX IV's STINS stream: JSON messages header, image with its bytes, series_end.

Fields as github.com/maxiv-science/streaming-receiver and dranspose read and write them. A series
has no number: what follows a header belongs to it. `msg_number` counts the messages of a sender.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from cade.frames import Beamline, Frame, Role, SeriesEnd, SeriesStart
from cade.wire import fields
from cade.wire.codec import Buffer, Message, WireError
from cade.wire.compression import compress
from cade.wire.json_part import json_object
from cade.wire.options import DecoderOptions, EncoderOptions
from cade.wire.raw_image import blob_of, decode_blob

COMPRESSIONS = {"none": None, "bslz4": "bslz4"}

_EXPOSURE_KEYS = ("exptime", "count_time", "exposure_time")


class StinsDecoder:
    """JSON messages to events; `channel` counts from 1 where an image has several."""

    def __init__(self, options: DecoderOptions) -> None:
        self._options = options
        self._count = 0
        # No series of the source has this name, so images before the first header are refused.
        self._series_id = "stins-0"
        self._role: Role | None = None

    def forget(self) -> None:
        """Nothing: the series' images that still come keep its name, and are refused by it."""

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        """The event of one message.

        Raises:
            WireError: the message is malformed or hostile.
        """
        found = fields.views(parts, self._options.max_bytes, *range(1, 10))
        header = json_object(found[0])
        fields.integer(header, "msg_number")
        match header.get("htype"):
            case "header":
                return (self._start(header, found),)
            case "image":
                return (self._image(header, found),)
            case "series_end":
                fields.expect_parts(found, 1, 2)
                return (SeriesEnd(self._series_id),)
            case other:
                raise WireError(
                    f"htype must be header, image or series_end, not {fields.shown(other)}"
                )

    def _start(self, header: fields.Fields, parts: list[memoryview]) -> SeriesStart:
        fields.expect_parts(parts, 1, 2)
        metadata = json_object(parts[1], "the metadata") if len(parts) > 1 else {}
        key = self._options.role_key
        role = fields.role(metadata.get(key) or header.get(key), key)
        name = _name(header)
        exposures_s = [fields.quantity(metadata, key) for key in _EXPOSURE_KEYS]
        beamline = Beamline(
            energy_ev=fields.quantity(metadata, "photon_energy"),
            exposure_s=next((value for value in exposures_s if value is not None), None),
        )
        image_count = _image_count(metadata)
        self._count += 1
        self._series_id = f"{name}-{self._count}"
        self._role = role
        return SeriesStart(
            series_id=self._series_id,
            start_time_s=self._options.clock(),
            image_count=image_count,
            role=role,
            beamline=beamline,
        )

    def _image(self, header: fields.Fields, parts: list[memoryview]) -> Frame:
        image_id = fields.integer(header, "frame")
        key = self._options.role_key
        try:
            return Frame(
                series_id=self._series_id,
                image_id=image_id,
                data=self._pixels(header, parts[1:]),
                timestamp_s=self._options.clock(),
                role=fields.role(header.get(key), key) or self._role,
                origin=self._options.origin,
            )
        except WireError as error:
            raise WireError(str(error), image_id=image_id) from None

    def _pixels(self, header: fields.Fields, blobs: list[memoryview]) -> np.ndarray[Any, Any]:
        """`(H, W)` of the one blob, or of the channel where `shape` is `[channels, H, W]`."""
        name = header.get("compression")
        if not isinstance(name, str) or name not in COMPRESSIONS:
            raise WireError(f"compression {fields.shown(name)} is not known: use none or bslz4")
        dimensions = header.get("shape")
        channels = 1
        if isinstance(dimensions, list) and len(dimensions) == 3 and dimensions[0] == len(blobs):
            channels, dimensions = len(blobs), dimensions[1:]
        if not blobs or len(blobs) != channels:
            raise WireError(f"the image has {len(blobs)} blobs, its shape is of {channels}")
        chosen = self._options.channel or "1"
        if chosen not in map(str, range(1, channels + 1)):
            raise WireError(f"there is no channel {chosen!r:.40}, only 1 to {channels}")
        return decode_blob(
            blobs[int(chosen) - 1],
            fields.image_shape(dimensions, "shape"),
            fields.pixel_type(header, "type"),
            self._options.max_bytes,
            compression=COMPRESSIONS[name],
        )


def _name(header: fields.Fields) -> str:
    """A short name from the file's; it is empty or null for a live view."""
    filename = header.get("filename") or ""
    if not isinstance(filename, str) or len(filename) > 4096 or not filename.isprintable():
        raise WireError(f"filename must be a printable path, not {fields.shown(filename)}")
    return PurePosixPath(filename).stem[: fields.MAX_TEXT // 2] or "stins"


def _image_count(metadata: fields.Fields) -> int | None:
    counts = [fields.integer(metadata, key) for key in ("nimages", "ntrigger") if key in metadata]
    return fields.announced(*counts) if counts else None


class StinsEncoder:
    """Events to messages of one blob."""

    def __init__(self, options: EncoderOptions) -> None:
        self._options = options
        self._numbers = itertools.count()

    def encode(self, message: Message) -> tuple[Buffer, ...]:
        """Header and metadata, header and blob, or the end."""
        match message:
            case SeriesStart():
                header = self._header("header") | {"filename": f"/data/{message.series_id}.h5"}
                return json.dumps(header).encode(), json.dumps(self._metadata(message)).encode()
            case SeriesEnd():
                return (json.dumps(self._header("series_end")).encode(),)
        # The header has no byte order: the senders are little-endian machines.
        data = message.data.astype(message.data.dtype.newbyteorder("<"))
        compression = self._options.compression
        header = self._header("image") | {
            "frame": message.image_id,
            "shape": list(data.shape),
            "type": data.dtype.name,
            "compression": compression or "none",
        }
        if message.role is not None:
            header[self._options.role_key] = message.role.value
        blob = blob_of(data) if compression is None else compress(data, compression)
        return json.dumps(header).encode(), blob

    def _header(self, htype: str) -> dict[str, object]:
        return {"htype": htype, "msg_number": next(self._numbers)}

    def _metadata(self, start: SeriesStart) -> dict[str, object]:
        metadata: dict[str, object] = {
            "exptime": start.beamline.exposure_s,
            "photon_energy": start.beamline.energy_ev,
            "nimages": start.image_count,
            self._options.role_key: start.role and start.role.value,
        }
        return {key: value for key, value in metadata.items() if value is not None}
