"""karabo-bridge 2.2: pairs of parts, a msgpack header and what it describes; one train a message.

The package karabo-bridge is what tests compare with, not what reads the bytes: its reader takes
messages of the old version 1.0 for pickled objects, loses an odd part without a word, and fails
with any exception on hostile bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cade.errors import UsageError
from cade.frames import Frame, Role, SeriesEnd, SeriesStart
from cade.wire import fields
from cade.wire.codec import Buffer, Message, WireError
from cade.wire.implied_series import ImpliedSeries, implied_start
from cade.wire.options import DecoderOptions, EncoderOptions
from cade.wire.raw_image import blob_of, decode_blob

MAX_PARTS = 1000
MAX_HEADER_BYTES = 1 << 16
MAX_VALUES_BYTES = 1 << 20

_CHANNEL = re.compile(r"(.+)\[(.+)\]")
_PATH = "data.image.pixels"
"""Where cameras at European XFEL have their image; what the encoder sends."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The image's array, and what its source says of the train."""

    source: str
    header: dict[str, object]
    payload: memoryview
    metadata: fields.Fields
    values: fields.Fields


class KaraboDecoder:
    """Trains to events; `channel` is source[key], and the first image of a train if not given.

    Raises:
        UsageError: the extra is not installed, or `channel` is not of that form.
    """

    def __init__(self, options: DecoderOptions) -> None:
        _msgpack()
        self._options = options
        self._series = ImpliedSeries("karabo")
        self._trains = 0
        self._wanted: tuple[str, str] | None = None
        if options.channel is not None:
            match = _CHANNEL.fullmatch(options.channel)
            if match is None:
                raise UsageError(
                    f"channel of a karabo stream is source[key], not {options.channel!r:.80}; for "
                    f"example SPB_EHD/CAM/1:daqOutput[{_PATH}]"
                )
            self._wanted = match[1], match[2]

    def forget(self) -> None:
        """The next train begins a series."""
        self._series.forget()

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        """The image of one train, after a `SeriesStart` where a series begins with it.

        Another source, or a train id that goes back, begins a series.

        Raises:
            WireError: the message is malformed or hostile, or has not that image.
        """
        options = self._options
        if not 2 <= len(parts) <= MAX_PARTS or len(parts) % 2:
            raise WireError(f"a message of {len(parts)} parts is not 1 to {MAX_PARTS // 2} pairs")
        found = self._find(fields.views(parts, options.max_bytes))
        image = _image(found, options.max_bytes)
        stated_s = fields.number(found.metadata, "timestamp")
        key = options.role_key
        role = fields.role(found.values.get(key) or found.metadata.get(key), key)
        number = self._number(found.metadata)
        begins = self._series.take(found.source, number, stated_s)
        self._trains += 1
        frame = Frame(
            series_id=self._series.series_id,
            image_id=self._series.image_id(),
            data=image,
            timestamp_s=options.clock() if stated_s is None else stated_s,
            role=role,
            origin=options.origin,
        )
        # A bridge hands on what its clients have time for, and not every train has an image.
        return (implied_start(frame, lossy=True), frame) if begins else (frame,)

    def _number(self, metadata: fields.Fields) -> int:
        """The train id; without a timing system it is 0 or missing, and trains are counted."""
        key = "timestamp.tid"
        stated = 0 if metadata.get(key) is None else fields.integer(metadata, key)
        return stated or self._trains

    def _find(self, parts: list[memoryview]) -> _Found:
        metadata: dict[str, tuple[object, memoryview]] = {}
        for header_part, payload in zip(parts[::2], parts[1::2], strict=True):
            header = _map(header_part, "a header", MAX_HEADER_BYTES)
            source = fields.text(header, "source")
            match header.get("content"):
                case "msgpack":
                    metadata[source] = header.get("metadata"), payload
                case "array":
                    if self._is_wanted(source, header):
                        about, values = metadata.get(source, (None, None))
                        return _Found(
                            source,
                            header,
                            payload,
                            about if isinstance(about, dict) else {},
                            {} if values is None else _map(values, "the values", MAX_VALUES_BYTES),
                        )
                case other:
                    raise WireError(f"content must be msgpack or array, not {fields.shown(other)}")
        sources = fields.shown(sorted(metadata))
        raise WireError(f"the train has no {self._options.channel or 'image'}; sources: {sources}")

    def _is_wanted(self, source: str, header: fields.Fields) -> bool:
        if self._wanted is not None:
            return (source, header.get("path")) == self._wanted
        shape = header.get("shape")
        return isinstance(shape, list) and len(shape) > 1


def _image(found: _Found, max_bytes: int) -> np.ndarray[Any, Any]:
    """`(H, W)`; see `decode_blob`."""
    shape = fields.image_shape(found.header.get("shape"), "shape")
    name = found.header.get("dtype")
    order = ">" if isinstance(name, str) and name.startswith(">") else "<"
    if isinstance(name, str) and re.fullmatch(r"[<>|=](?:[ui][1248]|f[248])", name):
        name = np.dtype(name).name
    return decode_blob(
        found.payload, shape, fields.pixel_type({"dtype": name}, "dtype", order), max_bytes
    )


def _map(data: memoryview, what: str, max_bytes: int) -> dict[str, object]:
    """The msgpack map that a part holds."""
    if len(data) > max_bytes:
        raise WireError(f"{what} has {len(data)} bytes, more than {max_bytes}")
    try:
        value = _msgpack().unpackb(data, raw=False)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise WireError(f"{what} is no msgpack ({error!s:.80})") from None
    if not isinstance(value, dict):
        raise WireError(f"{what} must be a msgpack map, not {fields.shown(value)}")
    return value


def _msgpack() -> Any:
    """The package, which only this format needs."""
    try:
        import msgpack
    except ImportError:
        raise UsageError(
            "the karabo format needs msgpack: pip install 'cade-daemon[karabo]'"
        ) from None
    return msgpack


class KaraboEncoder:
    """Frames to trains of one source; a series shows only as another source.

    Raises:
        UsageError: the extra is not installed.
    """

    def __init__(self, options: EncoderOptions) -> None:
        self._pack = _msgpack().packb
        self._options = options
        self._role: Role | None = None

    def encode(self, message: Message) -> tuple[Buffer, ...]:
        """Four parts of a `Frame`, nothing for the other events."""
        match message:
            case SeriesStart():
                self._role = message.role
                return ()
            case SeriesEnd():
                return ()
        source, role = message.series_id, message.role or self._role
        seconds, _, fraction = f"{message.timestamp_s:.18f}".partition(".")
        metadata = {
            "source": source,
            "timestamp": message.timestamp_s,
            "timestamp.tid": message.image_id + 1,  # 0 is no train
            "timestamp.sec": seconds,
            "timestamp.frac": fraction,
        }
        values = {} if role is None else {self._options.role_key: role.value}
        array = {
            "source": source,
            "content": "array",
            "path": _PATH,
            "dtype": str(message.data.dtype),
            "shape": message.data.shape,
        }
        return (
            self._pack({"source": source, "content": "msgpack", "metadata": metadata}),
            self._pack(values),
            self._pack(array),
            blob_of(message.data),
        )
