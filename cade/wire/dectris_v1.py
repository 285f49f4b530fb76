"""DECTRIS SIMPLON stream V1: multipart messages of JSON, the image's bytes between.

Parts and fields as in DECTRIS's SIMPLON API reference, chapter "Stream". Shapes are [width,
height]. There is no date on an image, only nanoseconds since the series began.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cade.frames import Beamline, Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import fields
from cade.wire.codec import Buffer, Message, WireError
from cade.wire.compression import compress, compress_bare
from cade.wire.json_part import MAX_JSON_BYTES, json_object, tagged_object
from cade.wire.options import DecoderOptions, EncoderOptions
from cade.wire.raw_image import blob_of, decode_blob

HEADER, IMAGE, PIXELS = "dheader-1.0", "dimage-1.0", "dimage_d-1.0"
TIMES, END = "dconfig-1.0", "dseries_end-1.0"

_HEADER_PARTS = {"none": 1, "basic": 2, "all": 8}  # and the appendix
_ENCODING = re.compile(r"(?:bs(8|16|32|64)-lz4|(lz4))?([<>])")


@dataclass(frozen=True, slots=True)
class _Series:
    """What the header says about the images that follow."""

    series_id: str
    start_time_s: float
    role: Role | None
    saturation_value: float | None


class DectrisV1Decoder:
    """Multipart messages to events."""

    def __init__(self, options: DecoderOptions) -> None:
        self._options = options
        self._series: _Series | None = None

    def forget(self) -> None:
        """Forget the header."""
        self._series = None

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        """The event of one message.

        Raises:
            WireError: the message is malformed or hostile.
        """
        found = fields.views(parts, self._options.max_bytes, *range(1, 10))
        header = json_object(found[0])
        match header.get("htype"):
            case "dheader-1.0":
                return (self._start(header, found),)
            case "dimage-1.0":
                return (self._image(header, found),)
            case "dseries_end-1.0":
                fields.expect_parts(found, 1)
                return (SeriesEnd(_series_id(header)),)
            case other:
                raise WireError(
                    f"htype must be {HEADER}, {IMAGE} or {END}, not {fields.shown(other)}"
                )

    def _start(self, header: fields.Fields, parts: list[memoryview]) -> SeriesStart:
        series_id = _series_id(header)
        detail = header.get("header_detail")
        if not isinstance(detail, str) or detail not in _HEADER_PARTS:
            raise WireError(f"header_detail must be all, basic or none, not {fields.shown(detail)}")
        count = _HEADER_PARTS[detail]
        fields.expect_parts(parts, count, count + 1)
        config = json_object(parts[1], "the configuration") if count > 1 else {}
        images = parts[2:6] if count > 2 and self._options.calibration else []
        start = SeriesStart(
            series_id=series_id,
            start_time_s=self._options.clock(),
            image_count=_image_count(config),
            role=self._role(parts[count:]),
            beamline=_beamline(config),
            flatfield=self._calibration(images[:2], "dflatfield-1.0"),
            flatfield_applied=config.get("flatfield_correction_applied") is True,
            pixel_mask=self._calibration(images[2:], "dpixelmask-1.0"),
        )
        cutoff = fields.quantity(config, "countrate_correction_count_cutoff")
        self._series = _Series(series_id, start.start_time_s, start.role, cutoff)
        return start

    def _image(self, header: fields.Fields, parts: list[memoryview]) -> Frame:
        series_id = _series_id(header)
        image_id = fields.integer(header, "frame")
        now_s = self._options.clock()
        known = self._series
        series = (
            known
            if known is not None and known.series_id == series_id
            else _Series(series_id, now_s, None, None)
        )
        try:
            fields.expect_parts(parts, 4, 5)
            elapsed_s = _elapsed_s(tagged_object(parts[3], TIMES))
            return Frame(
                series_id=series_id,
                image_id=image_id,
                data=_pixels(parts[1], parts[2], self._options.max_bytes),
                # A detector may count from elsewhere, but no image is of the future.
                timestamp_s=min(series.start_time_s + elapsed_s, now_s),
                role=self._role(parts[4:]) or series.role,
                origin=self._options.origin,
                saturation_value=series.saturation_value,
                monitor=fields.user_monitor(str(parts[4], "utf-8", "replace"))
                if len(parts) > 4
                else None,
            )
        except WireError as error:
            raise WireError(str(error), image_id=image_id) from None

    def _role(self, appendix: list[memoryview]) -> Role | None:
        """The role in the appendix, which may be any text of the user's."""
        if not appendix:
            return None
        if len(appendix[0]) > MAX_JSON_BYTES:
            raise WireError(f"the appendix has {len(appendix[0])} bytes, more than is allowed")
        return fields.user_role(str(appendix[0], "utf-8", "replace"), self._options.role_key)

    def _calibration(self, parts: list[memoryview], htype: str) -> Image | None:
        """The image that two parts of a header with header_detail "all" hold."""
        if not parts:
            return None
        description = tagged_object(parts[0], htype)
        shape = fields.image_shape_xy(description.get("shape"), "shape")
        dtype = fields.pixel_type(description, "type")
        return decode_blob(parts[1], shape, dtype, self._options.max_bytes)


def _series_id(header: fields.Fields) -> str:
    return str(fields.integer(header, "series"))


def _pixels(part: memoryview, blob: memoryview, max_bytes: int) -> np.ndarray[Any, Any]:
    """`(H, W)`; see `decode_blob`."""
    description = tagged_object(part, PIXELS)
    shape = fields.image_shape_xy(description.get("shape"), "shape")
    encoding = fields.text(description, "encoding")
    match = _ENCODING.fullmatch(encoding)
    if match is None:
        raise WireError(f"encoding {fields.shown(encoding)} is none of <, lz4<, bs16-lz4< ...")
    bits, lz4, order = match.groups()
    return decode_blob(
        blob,
        shape,
        fields.pixel_type(description, "type", order),
        max_bytes,
        compression="bslz4" if bits else lz4,
        element_size=int(bits) // 8 if bits else None,
    )


def _elapsed_s(times: fields.Fields) -> float:
    return fields.integer(times, "start_time") * 1e-9


def _image_count(config: fields.Fields) -> int | None:
    if "nimages" not in config:
        return None
    triggers = fields.integer(config, "ntrigger") if "ntrigger" in config else 1
    return fields.announced(fields.integer(config, "nimages"), triggers)


def _beamline(config: fields.Fields) -> Beamline:
    width_m, height_m = (fields.quantity(config, f"{axis}_pixel_size") for axis in "xy")
    # One pitch describes square pixels only; for others the settings must say what to use.
    square = width_m is None or height_m is None or math.isclose(width_m, height_m, rel_tol=1e-3)
    return Beamline(
        energy_ev=fields.quantity(config, "photon_energy"),
        pixel_size_m=(width_m or height_m) if square else None,
        distance_m=fields.quantity(config, "detector_distance"),
        exposure_s=fields.quantity(config, "count_time"),
    )


class DectrisV1Encoder:
    """Events to multipart messages with header_detail "basic"."""

    def __init__(self, options: EncoderOptions) -> None:
        self._options = options
        self._count = 0
        self._start_time_s = 0.0

    def encode(self, message: Message) -> tuple[Buffer, ...]:
        """2, 4 or 1 parts, and an appendix where there is a role to say."""
        match message:
            case SeriesStart():
                self._count += 1
                self._start_time_s = message.start_time_s
                header = {"header_detail": "basic", "htype": HEADER, "series": self._count}
                return (_dumps(header), self._config(message), *self._appendix(message.role))
            case Frame():
                return (*self._image(message), *self._appendix(message.role))
            case SeriesEnd():
                return (_dumps({"htype": END, "series": self._count}),)

    def _appendix(self, role: Role | None) -> tuple[bytes, ...]:
        return () if role is None else (_dumps({self._options.role_key: role.value}),)

    def _config(self, start: SeriesStart) -> bytes:
        height, width = start.shape or (None, None)
        config = {
            "count_time": start.beamline.exposure_s,
            "countrate_correction_count_cutoff": self._options.saturation_value,
            "detector_distance": start.beamline.distance_m,
            "nimages": start.image_count,
            "ntrigger": 1,
            "photon_energy": start.beamline.energy_ev,
            "x_pixel_size": start.beamline.pixel_size_m,
            "x_pixels_in_detector": width,
            "y_pixel_size": start.beamline.pixel_size_m,
            "y_pixels_in_detector": height,
        }
        return _dumps({key: value for key, value in config.items() if value is not None})

    def _image(self, frame: Frame) -> tuple[Buffer, ...]:
        data, compression = frame.data, self._options.compression
        name = {None: "", "lz4": "lz4", "bslz4": f"bs{8 * data.itemsize}-lz4"}[compression]
        blob: Buffer = blob_of(data)
        if compression is not None:
            blob = compress_bare(data, "lz4") if compression == "lz4" else compress(data, "bslz4")
        digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        description = {
            "encoding": name + ("<" if data.dtype.str[0] in "<|" else ">"),
            "htype": PIXELS,
            "shape": list(data.shape[::-1]),
            "size": len(blob),
            "type": data.dtype.newbyteorder("=").name,
        }
        start_ns = max(0, round((frame.timestamp_s - self._start_time_s) * 1e9))
        times = {"htype": TIMES, "real_time": 0, "start_time": start_ns, "stop_time": start_ns}
        image = {"frame": frame.image_id, "hash": digest, "htype": IMAGE, "series": self._count}
        return _dumps(image), _dumps(description), blob, _dumps(times)


def _dumps(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()
