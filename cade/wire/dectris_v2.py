"""DECTRIS Stream V2: one CBOR map a message, `type` start, image or end.

Fields as in DECTRIS's public description of the stream (github.com/dectris/documentation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import cbor2
import numpy as np

from cade.frames import Beamline, Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import cbor, fields
from cade.wire.cbor import Tag
from cade.wire.codec import Buffer, Message, WireError
from cade.wire.options import DecoderOptions, EncoderOptions
from cade.wire.typed_array import decode_image, encode_image

_DATE = 0  # the CBOR tag of a date and time as text
_TICK_HZ = 1_000_000_000
_CHANNEL = "threshold_1"  # what the encoder sends


@dataclass(frozen=True, slots=True)
class _Series:
    """What the start message says about the images that follow."""

    series_id: str
    role: Role | None
    saturation_value: float | None
    channel: str | None


class DectrisV2Decoder:
    """CBOR messages to events."""

    def __init__(self, options: DecoderOptions) -> None:
        self._options = options
        self._series: _Series | None = None

    def forget(self) -> None:
        """Forget the start message."""
        self._series = None

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        """The event of one message.

        Raises:
            WireError: the message is malformed or hostile.
        """
        (data,) = fields.views(parts, self._options.max_bytes, 1)
        message = cbor.loads(data)
        if not isinstance(message, dict):
            raise WireError(f"the message must be a CBOR map, not {fields.shown(message)}")
        match message.get("type"):
            case "start":
                return (self._start(message),)
            case "image":
                return (self._image(message),)
            case "end":
                return (SeriesEnd(_series_id(message)),)
            case other:
                raise WireError(f"type must be start, image or end, not {fields.shown(other)}")

    def _start(self, message: fields.Fields) -> SeriesStart:
        series_id = _series_id(message)
        width, height = (fields.integer(message, f"image_size_{axis}") for axis in "xy")
        shape = fields.image_shape([height, width], "image_size")
        dtype = fields.text(message, "image_dtype")
        if dtype not in fields.DTYPES:
            raise WireError(f"image_dtype {fields.shown(dtype)} is not known")
        fields.image_bytes(shape, np.dtype(dtype), self._options.max_bytes)
        role = self._role(message)
        count = fields.integer(message, "number_of_images") if "number_of_images" in message else 0
        channel = self._pick(message)
        series = _Series(series_id, role, fields.quantity(message, "saturation_value"), channel)
        start = SeriesStart(
            series_id=series_id,
            start_time_s=_date_s(message, "arm_date") or self._options.clock(),
            image_count=count or None,
            shape=shape,
            dtype=dtype,
            role=role,
            beamline=_beamline(message),
            flatfield=self._calibration(message, "flatfield", channel),
            flatfield_applied=message.get("flatfield_enabled") is True,
            pixel_mask=self._calibration(message, "pixel_mask", channel),
        )
        self._series = series  # only now: a bad start message leaves the state as it was
        return start

    def _image(self, message: fields.Fields) -> Frame:
        series_id = _series_id(message)
        image_id = fields.integer(message, "image_id")
        known = self._series
        series = (
            known
            if known is not None and known.series_id == series_id
            else _Series(series_id, None, None, self._options.channel)
        )
        try:
            return Frame(
                series_id=series_id,
                image_id=image_id,
                data=decode_image(_channel_data(message, series.channel), self._options.max_bytes),
                timestamp_s=_timestamp_s(message) or self._options.clock(),
                role=self._role(message) or series.role,
                origin=self._options.origin,
                saturation_value=series.saturation_value,
                monitor=fields.user_monitor(message.get("user_data")),
            )
        except WireError as error:
            raise WireError(str(error), image_id=image_id) from None

    def _role(self, message: fields.Fields) -> Role | None:
        return fields.user_role(message.get("user_data"), self._options.role_key)

    def _calibration(self, message: fields.Fields, key: str, channel: str | None) -> Image | None:
        """The flat field or pixel mask of the channel that is taken, where it is asked for."""
        images = message.get(key)
        if not self._options.calibration or images is None:
            return None
        if not isinstance(images, dict):
            raise WireError(f"{key} must be a map of channels, not {fields.shown(images)}")
        item = next(iter(images.values()), None) if channel is None else images.get(channel)
        return None if item is None else decode_image(item, self._options.max_bytes)

    def _pick(self, message: fields.Fields) -> str | None:
        """The channel that is taken: the one asked for, or the first one announced."""
        channels, wanted = message.get("channels"), self._options.channel
        if channels is None:
            return wanted
        if not isinstance(channels, list) or not all(isinstance(name, str) for name in channels):
            raise WireError(f"channels must be a list of names, not {fields.shown(channels)}")
        if wanted is not None and wanted not in channels:
            raise WireError(
                f"channel {fields.shown(wanted)} is not one of {fields.shown(channels)}"
            )
        return wanted or next(iter(channels), None)


def _series_id(message: fields.Fields) -> str:
    if message.get("series_unique_id"):
        return fields.text(message, "series_unique_id")
    return str(fields.integer(message, "series_id"))


def _channel_data(message: fields.Fields, channel: str | None) -> object:
    data = message.get("data")
    if not isinstance(data, dict) or not data:
        raise WireError(f"data must be a map of channels, not {fields.shown(data)}")
    if channel is None:
        return next(iter(data.values()))
    if channel not in data:
        raise WireError(
            f"data has no channel {fields.shown(channel)}, only {fields.shown(list(data))}"
        )
    return data[channel]


def _beamline(message: fields.Fields) -> Beamline:
    width_m, height_m = (fields.quantity(message, f"pixel_size_{axis}") for axis in "xy")
    # One pitch describes square pixels only; for others the settings must say what to use.
    square = width_m is None or height_m is None or math.isclose(width_m, height_m, rel_tol=1e-3)
    return Beamline(
        energy_ev=fields.quantity(message, "incident_energy"),
        pixel_size_m=(width_m or height_m) if square else None,
        exposure_s=fields.quantity(message, "count_time"),
    )


def _date_s(message: fields.Fields, key: str) -> float | None:
    """Unix time of a tag 0 date; one without a zone is UTC."""
    value = message.get(key)
    if value is None:
        return None
    text = value.value if isinstance(value, Tag) and value.number == _DATE else value
    try:
        date = datetime.fromisoformat(text)  # type: ignore[arg-type]
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        raise WireError(f"{key} is no date: {fields.shown(text)}") from None


def _timestamp_s(message: fields.Fields) -> float | None:
    """Unix time at which the exposure began: the series' date and the ticks since then."""
    date_s = _date_s(message, "series_date")
    stated = message.get("start_time")
    if stated is None:
        return None
    if isinstance(stated, list):  # a byte string would match the pattern as well
        match stated:
            case [int() as ticks, int() as rate_hz] if 0 <= ticks < 1 << 64 > rate_hz > 0:
                return None if date_s is None else date_s + ticks / rate_hz
    raise WireError(f"start_time must be [ticks, ticks per s], not {fields.shown(stated)}")


class DectrisV2Encoder:
    """Events to CBOR messages of one channel."""

    def __init__(self, options: EncoderOptions) -> None:
        self._options = options
        self._count = 0
        self._start_time_s = 0.0

    def encode(self, message: Message) -> tuple[Buffer, ...]:
        """One CBOR map."""
        match message:
            case SeriesStart():
                self._count += 1
                self._start_time_s = message.start_time_s
                content = self._start(message)
            case Frame():
                content = self._image(message)
            case SeriesEnd():
                content = self._common("end", message.series_id)
        return (cbor2.dumps({key: value for key, value in content.items() if value is not None}),)

    def _common(self, kind: str, series_id: str) -> dict[str, object]:
        return {"type": kind, "series_id": self._count, "series_unique_id": series_id}

    def _user_data(self, role: Role | None) -> dict[str, str] | None:
        return None if role is None else {self._options.role_key: role.value}

    def _date(self) -> cbor2.CBORTag:
        date = datetime.fromtimestamp(self._start_time_s, UTC)
        return cbor2.CBORTag(_DATE, date.isoformat(timespec="microseconds"))

    def _start(self, start: SeriesStart) -> dict[str, object]:
        height, width = start.shape or (None, None)
        return self._common("start", start.series_id) | {
            "arm_date": self._date(),
            "channels": [_CHANNEL],
            "count_time": start.beamline.exposure_s,
            "image_dtype": start.dtype,
            "image_size_x": width,
            "image_size_y": height,
            "incident_energy": start.beamline.energy_ev,
            "number_of_images": start.image_count,
            "pixel_size_x": start.beamline.pixel_size_m,
            "pixel_size_y": start.beamline.pixel_size_m,
            "saturation_value": self._options.saturation_value,
            "user_data": self._user_data(start.role),
        }

    def _image(self, frame: Frame) -> dict[str, object]:
        ticks = max(0, round((frame.timestamp_s - self._start_time_s) * _TICK_HZ))
        return self._common("image", frame.series_id) | {
            "image_id": frame.image_id,
            "series_date": self._date(),
            "start_time": [ticks, _TICK_HZ],
            "user_data": self._user_data(frame.role),
            "data": {_CHANNEL: encode_image(frame.data, self._options.compression)},
        }
