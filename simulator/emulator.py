"""A detector on a socket: publishes series of images as the real one would, and broken messages."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import zmq

from cade.errors import CadeError, UsageError
from cade.frames import Beamline, Frame, Image, Role, SeriesEnd, SeriesStart
from cade.wire import Buffer, Message, encoder
from cade.wire.compression import Compression
from simulator.faults import FaultKind, Faults, hostile_parts, other_shape, schedule, truncated

SocketKind = Literal["push", "pub", "rep"]

SOCKETS: Mapping[str, SocketKind] = {
    "dectris-v2": "push",
    "dectris-v1": "push",
    "array-1.0": "pub",
    "odin": "pub",
    "karabo": "rep",
    "stins": "push",
}
"""What the real detector binds, by the wire format."""

_KINDS = {"push": zmq.PUSH, "pub": zmq.XPUB, "rep": zmq.REP}
_REQUEST = b"next"

_QUEUE_MESSAGES = 16


@dataclass(frozen=True, slots=True, eq=False)
class EmulatedSeries:
    """One series: at least one image, each `(H, W)`, all of one shape and dtype.

    `image_count` is what is announced; more images are not sent. `role` is what the stream says
    of them, None for nothing.
    """

    role: Role | None
    image_count: int
    images: Iterable[Image]


@dataclass(frozen=True, slots=True)
class EmulatorSummary:
    """What was sent: series, good images, broken messages and bytes."""

    series: int
    images: int
    faults: Faults
    size_bytes: int


class Emulator:
    """A bound socket that plays a detector; a context manager that has sent all when it closes.

    Args:
        wire_format: one of `cade.wire.FORMATS`.
        endpoint: for example `tcp://127.0.0.1:31001`; the port `*` takes a free one.
        socket: "push" waits for a receiver, "pub" for a subscriber, "rep" for a request of every
            message; none loses anything. As the format's detector if None.
        rate_hz: images per second; as fast as they are taken if None.
        compression: of the images, where the format has it.
        saturation_value: what the start messages say, if anything.
        role_key: key under which roles are sent.
        beamline: what the start messages say of it.
        timeout_s: how long to wait for a receiver to take a message.

    Raises:
        UsageError: there is no such format, or it has no such compression.
        CadeError: the endpoint cannot be bound.
    """

    def __init__(
        self,
        wire_format: str,
        endpoint: str,
        *,
        socket: SocketKind | None = None,
        rate_hz: float | None = None,
        compression: Compression | None = None,
        saturation_value: float | None = None,
        role_key: str = "role",
        beamline: Beamline | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._encoder = encoder(
            wire_format,
            role_key=role_key,
            compression=compression,
            saturation_value=saturation_value,
        )
        # By another encoder: it may count its messages.
        self._has_end = bool(encoder(wire_format, role_key=role_key).encode(SeriesEnd("")))
        self._rate_hz = rate_hz
        self._beamline = beamline or Beamline()
        self._timeout_s = timeout_s
        self._hostile = hostile_parts()
        self._next_s = 0.0
        self._sent_bytes = 0
        self._kind = socket or SOCKETS[wire_format]
        self._awaits_subscriber = self._kind == "pub"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(_KINDS[self._kind])
        self._socket.setsockopt(zmq.SNDHWM, _QUEUE_MESSAGES)
        self._socket.setsockopt(zmq.SNDTIMEO, round(timeout_s * 1000))
        if self._awaits_subscriber:
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)  # else a slow subscriber loses images
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise CadeError(
                f"emulator: cannot bind {endpoint}: {error.strerror}; choose another endpoint"
            ) from error
        self.endpoint: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        """Where it is bound, with the port that was found."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        # After a failure nobody may be there to take what is left.
        self._context.destroy(linger=round(self._timeout_s * 1000) if kind is None else 0)

    def publish(
        self, series: Sequence[EmulatedSeries], faults: Faults | None = None
    ) -> EmulatorSummary:
        """Send the series one after another, with the faults among them; returns what was sent.

        Raises:
            UsageError: the format cannot show such a fault, or a series is empty.
            CadeError: nobody received in time.
        """
        faults = faults or Faults()
        if faults.stray and not self._has_end:
            raise UsageError("stray images need a format whose series end, such as dectris-v2")
        if not series or any(one.image_count < 1 for one in series):
            raise UsageError("emulator: there is nothing to publish")
        self._await_subscriber()
        self._next_s = time.monotonic()
        self._sent_bytes = 0
        plan = schedule(faults, sum(one.image_count for one in series))
        prefix = uuid.uuid4().hex[:8]  # a receiver may see several emulators one after another
        done = 0
        for number, one in enumerate(series):
            strays = faults.stray // len(series) + (number < faults.stray % len(series))
            breaks = [plan.get(after, ()) for after in range(done + 1, done + one.image_count + 1)]
            self._publish_series(f"{prefix}-{number + 1}", one, breaks, strays)
            done += one.image_count
        return EmulatorSummary(len(series), done, faults, self._sent_bytes)

    def _publish_series(
        self,
        series_id: str,
        series: EmulatedSeries,
        breaks: Sequence[Sequence[FaultKind]],
        strays: int,
    ) -> None:
        """One series; `breaks[i]` are the faults after its good image i."""
        image_ids = itertools.count()
        images = iter(series.images)
        image = self._take(images, series_id)
        announced = len(breaks) + sum(kinds.count("wrong_shape") for kinds in breaks)
        self._send(self._start(series_id, series.role, image, announced))
        for index, kinds in enumerate(breaks):
            if index:
                image = self._take(images, series_id)
            self._pace()
            frame = self._frame(series_id, next(image_ids), image)
            self._send(frame)
            for kind in kinds:
                self._break(kind, frame, image_ids)
        self._send(SeriesEnd(series_id))
        for _ in range(strays):
            self._send(self._frame(series_id, next(image_ids), image))

    def _break(self, kind: FaultKind, frame: Frame, image_ids: Iterable[int]) -> None:
        """Send a broken message beside a good one."""
        if kind == "wrong_shape":
            image_id = next(iter(image_ids))
            self._send(self._frame(frame.series_id, image_id, other_shape(frame.data)))
            return
        parts = self._encoder.encode(frame)
        if kind == "truncate":
            self._send_parts(truncated(parts))
        else:
            self._send_parts((next(self._hostile), *parts[1:]))

    @staticmethod
    def _take(images: Iterable[Image], series_id: str) -> Image:
        for image in images:
            return image
        raise UsageError(f"emulator: series {series_id} has fewer images than it announces")

    def _start(self, series_id: str, role: Role | None, image: Image, count: int) -> SeriesStart:
        return SeriesStart(
            series_id=series_id,
            start_time_s=time.time(),
            image_count=count,
            shape=(image.shape[0], image.shape[1]),
            dtype=image.dtype.name,
            role=role,
            beamline=self._beamline,
        )

    def _frame(self, series_id: str, image_id: int, image: Image) -> Frame:
        return Frame(series_id, image_id, image, time.time())

    def _pace(self) -> None:
        if self._rate_hz is None:
            return
        time.sleep(max(0.0, self._next_s - time.monotonic()))
        self._next_s += 1.0 / self._rate_hz

    def _await_subscriber(self) -> None:
        if not self._awaits_subscriber:
            return
        if not self._socket.poll(round(self._timeout_s * 1000)):
            raise self._nobody()
        self._socket.recv()
        self._awaits_subscriber = False

    def _send(self, message: Message) -> None:
        parts = self._encoder.encode(message)
        if parts:
            self._send_parts(parts)

    def _await_request(self) -> None:
        """Wait until somebody asks for a message, where one has to; answer who asks wrongly."""
        while self._kind == "rep":
            if not self._socket.poll(round(self._timeout_s * 1000)):
                raise self._nobody()
            request = self._socket.recv()
            if request == _REQUEST:
                return
            self._socket.send(b"Error: bad request %b" % request[:40])

    def _send_parts(self, parts: Sequence[Buffer]) -> None:
        self._await_request()
        try:
            self._socket.send_multipart(parts)
        except zmq.Again:
            raise self._nobody() from None
        self._sent_bytes += sum(len(part) for part in parts)

    def _nobody(self) -> CadeError:
        return CadeError(
            f"emulator: nobody received on {self.endpoint} for {self._timeout_s:g} s; "
            "is the daemon's source connected to it?"
        )
