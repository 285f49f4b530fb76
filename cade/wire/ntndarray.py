"""areaDetector's NTNDArray as plain fields: what p4p's `Value.todict` makes of one, and back.

Normative type `epics:nt/NTNDArray:1.0`, filled as ADCore's plugins NDPva and NDPvxs do it. The
pixels are a view of what pvAccess received. `dimension` has x first. Nothing says where a series
begins or ends: `uniqueId` goes back, as in `ImpliedSeries`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import Any

import numpy as np

from cade.frames import Beamline, Frame, Role, SeriesEnd, SeriesStart
from cade.wire import fields
from cade.wire.array_1_0 import EPICS_EPOCH_S
from cade.wire.codec import Message, WireError
from cade.wire.compression import compress_bare
from cade.wire.implied_series import ImpliedSeries, implied_start
from cade.wire.ntndarray_image import MEMBERS, SCALAR_TYPES, image_of, region_of
from cade.wire.options import DecoderOptions, EncoderOptions

COLOUR_MODES = ("Mono", "Bayer", "RGB1", "RGB2", "RGB3", "YUV444", "YUV422", "YUV411")
MAX_ATTRIBUTES = 10_000

_DAY_NS = 86_400 * 10**9
_SAME_EXPOSURE = 0.01


class NtndArrayDecoder:
    """Fields of one NTNDArray after the other to events.

    Args:
        options: as for the other formats; `channel` and `calibration` have no meaning here.
        detector: name of the detector, to tell its references apart.
        exposure_key: attribute that has the exposure in s.
    """

    def __init__(
        self, options: DecoderOptions, *, detector: str | None = None, exposure_key: str = ""
    ) -> None:
        self._options = options
        self._detector = detector
        self._exposure_key = exposure_key
        self._series = ImpliedSeries("ntndarray")
        self._numbers = _Numbers()
        self._beamline = Beamline()
        self._role: Role | None = None

    def forget(self) -> None:
        """The next image begins a series."""
        self._series.forget()
        self._numbers = _Numbers()

    def decode(self, array: fields.Fields) -> tuple[Message, ...]:
        """The image; where a series begins with it, after the end of the last one and a start.

        One begins where `uniqueId` goes back, where another part of the sensor is read or the
        exposure is another one, and where the role changes from any but sample.

        Raises:
            WireError: the array is malformed or hostile, or no single monochrome image.
        """
        stated, time_ns = unique_id(array), taken_ns(array)
        try:
            attributes = _attributes(array.get("attribute"))
            _check_colour(attributes.get("ColorMode"))
            image = image_of(array, self._options.max_bytes)
            region = region_of(array)
            role = _role(attributes, self._options.role_key)
        except WireError as error:
            raise WireError(str(error), image_id=self._broken_id(stated)) from None
        beamline = self._seen(attributes, region)
        if self._changes(beamline, role):
            self.forget()
        before = self._series.series_id
        number = self._numbers.take(stated, time_ns)
        time_s = None if time_ns is None else time_ns // 10**9 + time_ns % 10**9 / 1e9
        begins = self._series.take("", number, time_s)
        if begins:
            self._beamline = beamline
        self._role = role
        frame = Frame(
            series_id=self._series.series_id,
            image_id=self._series.image_id(),
            data=image,
            timestamp_s=self._options.clock() if time_s is None else time_s,
            role=role,
            origin=self._options.origin,
        )
        if not begins:
            return (frame,)
        start = dataclasses.replace(implied_start(frame), beamline=beamline)
        return (SeriesEnd(before), start, frame) if before else (start, frame)

    def _broken_id(self, stated: int) -> int:
        """Which image of the open series a broken one is, -1 where that is not known."""
        ahead = self._numbers.ahead(stated)
        return self._series.image_id() + ahead if ahead > 0 else -1

    def _seen(self, attributes: dict[str, object], region: str) -> Beamline:
        detector = self._detector
        if region:  # a reference of another part of the sensor is one of another detector
            detector = f"{detector or 'detector'} {region}"
        exposure_s = None
        with contextlib.suppress(WireError):  # the image is good all the same
            exposure_s = fields.quantity(attributes, self._exposure_key)
        return Beamline(detector=detector, exposure_s=exposure_s)

    def _changes(self, beamline: Beamline, role: Role | None) -> bool:
        """Whether the image does not belong to the series of the last one."""
        if self._role not in (None, Role.SAMPLE) and role is not self._role:
            return True
        if beamline.detector != self._beamline.detector:
            return True
        exposure_s, before_s = beamline.exposure_s or 0.0, self._beamline.exposure_s or 0.0
        return not math.isclose(exposure_s, before_s, rel_tol=_SAME_EXPOSURE)


class _Numbers:
    """The sender's numbers; counted on where it does not number its images.

    That is where the number stays the same while time goes on, or is always 0 without a time.
    """

    def __init__(self) -> None:
        self._stated: int | None = None
        self._time_ns: int | None = None
        self._counted = 0

    def take(self, stated: int, time_ns: int | None) -> int:
        """The number of an image."""
        if self._stated is None or stated < self._stated:
            self._counted = 0
        elif stated == self._stated:
            known = time_ns is not None and self._time_ns is not None
            self._counted += (time_ns or 0) > (self._time_ns or 0) if known else stated == 0
        self._stated, self._time_ns = stated, time_ns
        return stated + self._counted

    def ahead(self, stated: int) -> int:
        """How far a number lies behind the last one."""
        return 0 if self._stated is None else stated - self._stated - self._counted


def unique_id(array: fields.Fields) -> int:
    """The sender's number of the image; it is a signed one.

    Raises:
        WireError: there is none.
    """
    value = array.get("uniqueId")
    if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
        raise WireError(f"uniqueId must be a whole number of 32 bits, not {fields.shown(value)}")
    return value


def taken_ns(array: fields.Fields) -> int | None:
    """Unix time of the image in ns, None where it says nothing of it.

    `dataTimeStamp` is the driver's, and in some of them the camera's own clock: then the IOC's
    `timeStamp` counts.
    """
    data_ns, ioc_ns = (_stamp_ns(array.get(key)) for key in ("dataTimeStamp", "timeStamp"))
    if data_ns is None or (ioc_ns is not None and abs(data_ns - ioc_ns) > _DAY_NS):
        return ioc_ns
    return data_ns


def _stamp_ns(stamp: object) -> int | None:
    if not isinstance(stamp, dict):
        return None
    seconds, nanoseconds = stamp.get("secondsPastEpoch"), stamp.get("nanoseconds")
    if type(seconds) is not int or type(nanoseconds) is not int:
        return None
    is_set = EPICS_EPOCH_S < seconds < 1 << 33  # areaDetector's zero is 1990
    return seconds * 10**9 + nanoseconds if is_set and 0 <= nanoseconds < 10**9 else None


def _attributes(found: object) -> dict[str, object]:
    """Values of the attributes by name; of two with the same name the first one."""
    if not isinstance(found, list) or len(found) > MAX_ATTRIBUTES:
        raise WireError(f"attribute must be a list of at most {MAX_ATTRIBUTES}")
    values: dict[str, object] = {}
    for attribute in found:
        if isinstance(attribute, dict):
            values.setdefault(str(attribute.get("name")), attribute.get("value"))
    return values


def _check_colour(mode: object) -> None:
    if mode is None or (type(mode) in (int, float, str) and mode in (0, COLOUR_MODES[0])):
        return
    known = type(mode) is int and 0 <= mode < len(COLOUR_MODES)
    name = COLOUR_MODES[mode] if known else fields.shown(mode)  # type: ignore[call-overload]
    raise WireError(f"ColorMode is {name}, not Mono: set the camera's colour mode to Mono")


def _role(attributes: dict[str, object], key: str) -> Role | None:
    """A role by its name, or by its place in `Role`: areaDetector may send an enumeration's number.

    An attribute whose PV is disconnected has no value, and names no role.
    """
    value = attributes.get(key)
    if type(value) in (int, float) and value in range(len(Role)):
        return tuple(Role)[int(value)]  # type: ignore[call-overload]
    if value is None or isinstance(value, str):
        return fields.role(value, f"attribute {key!r:.40}")
    raise WireError(f"attribute {key!r:.40} is {fields.shown(value)}, not a role or 0 to 3")


class NtndArrayEncoder:
    """Frames to the fields of an NTNDArray, as NDPva sends them, for `p4p.Value`."""

    def __init__(self, options: EncoderOptions, *, exposure_key: str = "AcquireTime") -> None:
        self._options = options
        self._exposure_key = exposure_key
        self._role: Role | None = None
        self._exposure_s: float | None = None

    def encode(self, message: Message) -> dict[str, Any]:
        """The fields of a `Frame`, nothing for the other events; `uniqueId` is its `image_id`."""
        match message:
            case SeriesStart():
                self._role, self._exposure_s = message.role, message.beamline.exposure_s
                return {}
            case SeriesEnd():
                return {}
        image = np.ascontiguousarray(message.data)
        numbers = {name: number for number, name in SCALAR_TYPES.items()}
        flat, compression = image.reshape(-1), self._options.compression
        if compression is not None:
            flat = np.frombuffer(compress_bare(image, compression), np.uint8)
        stamp = dict(
            zip(("secondsPastEpoch", "nanoseconds"), _split_s(message.timestamp_s), strict=True)
        )
        return {
            "value": (MEMBERS[flat.dtype.name], flat),
            "codec": {"name": compression or "", "parameters": numbers.get(image.dtype.name)},
            "compressedSize": flat.nbytes,
            "uncompressedSize": image.nbytes,
            "uniqueId": message.image_id,
            "dataTimeStamp": stamp,
            "timeStamp": stamp,
            "dimension": [
                {"size": n, "offset": 0, "fullSize": n, "binning": 1, "reverse": False}
                for n in image.shape[::-1]
            ],
            "attribute": self._described(message.role or self._role),
        }

    def _described(self, role: Role | None) -> list[dict[str, object]]:
        values: dict[str, object] = {"ColorMode": 0}
        if role is not None:
            values[self._options.role_key] = role.value
        if self._exposure_s is not None:
            values[self._exposure_key] = self._exposure_s
        return [{"name": name, "value": value} for name, value in values.items()]


def _split_s(time_s: float) -> tuple[int, int]:
    seconds = math.floor(time_s)
    return seconds, min(round((time_s - seconds) * 1e9), 10**9 - 1)
