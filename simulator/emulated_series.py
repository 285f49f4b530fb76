"""One series of an emulated detector, sent message by message with the faults that meet it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from cade.errors import UsageError
from cade.frames import Beamline, Frame, Image, Reason, Role, SeriesEnd, SeriesStart
from cade.wire import Encoder, Message
from simulator.broken_messages import corrupted, other_shape, truncated
from simulator.emulator_log import SeriesLog
from simulator.emulator_socket import DetectorSocket
from simulator.faults import ImageFault, SeriesPlan
from simulator.pace import Pace


@dataclass(frozen=True, slots=True, eq=False)
class EmulatedSeries:
    """One series: at least one image, each `(H, W)`, all of one shape and dtype.

    `image_count` is what is announced; more images are not taken. `role` is what the stream says
    of them, None for nothing.
    """

    role: Role | None
    image_count: int
    images: Iterable[Image]


@dataclass(frozen=True, slots=True, eq=False)
class SeriesSender:
    """Sends a series and fills its log.

    `stranger` is an encoder that has started no series. `draw` is for the damage.
    """

    socket: DetectorSocket
    encoder: Encoder
    stranger: Encoder
    plan: SeriesPlan
    log: SeriesLog
    draw: np.random.Generator
    pace: Pace
    stall_s: float

    def send(self, series: EmulatedSeries, beamline: Beamline) -> None:
        """Start, images and end, and what comes beside them.

        Raises:
            UsageError: there are fewer images than announced.
            CadeError: nobody received in time.
        """
        held: Frame | None = None  # goes behind the next one
        for frame in self._frames(series, beamline):
            fault = self.plan.images.get(frame.image_id)
            if fault == "reorder":
                held = frame
            else:
                self._image(frame, fault)
                if held is not None:
                    self.log.reordered.append(held.image_id)
                    self._image(held, None)
                    held = None
            self._beside(frame)
        self._send(SeriesEnd(self.log.series_id))
        for number in range(self.log.images, self.log.images + self.plan.strays):
            self._send(Frame(self.log.series_id, number, frame.data, time.time()))
            self.log.strays.append(number)
            self.log.reject(number, Reason.NO_SERIES)

    def _frames(self, series: EmulatedSeries, beamline: Beamline) -> Iterator[Frame]:
        """The images as they are due, the start before the first one."""
        images = iter(series.images)
        for number in range(series.image_count):
            image = next(images, None)
            if image is None:
                raise UsageError(
                    f"emulator: series {self.log.series_id} has fewer images than it announces"
                )
            if number == 0:
                self._send(self._start(series, image, beamline))
            self.pace.wait()
            yield Frame(self.log.series_id, number, image, time.time())

    def _start(self, series: EmulatedSeries, image: Image, beamline: Beamline) -> SeriesStart:
        return SeriesStart(
            series_id=self.log.series_id,
            start_time_s=time.time(),
            image_count=series.image_count,
            shape=(image.shape[0], image.shape[1]),
            dtype=image.dtype.name,
            role=series.role,
            beamline=beamline,
        )

    def _image(self, frame: Frame, fault: ImageFault | None) -> None:
        """An image, whole or not, and a note of it."""
        log, number = self.log, frame.image_id
        match fault:
            case "drop":
                log.dropped.append(number)
            case "truncate":
                self.socket.send(truncated(self.encoder.encode(frame)))
                log.truncated.append(number)
                log.reject_broken(number, "truncate")
            case "corrupt":
                way, parts = corrupted(self.encoder.encode(frame), frame.data, self.draw)
                self.socket.send(parts)
                log.corrupted.append((number, way))
                log.reject_broken(number, way)
            case "wrong_shape":
                shaped = other_shape(frame.data)
                self._send(Frame(frame.series_id, number, shaped, frame.timestamp_s))
                log.wrong_shape.append(number)
                log.reject(number, Reason.WRONG_SHAPE)
            case _:
                self._send(frame)
                log.sent.append(number)
        if fault == "duplicate":
            self._send(frame)
            log.duplicated.append(number)
            log.reject(number, Reason.REPEATED)

    def _beside(self, frame: Frame) -> None:
        """What comes behind an image without being one of the series."""
        number = frame.image_id
        if number in self.plan.stray_series:
            name = f"{frame.series_id}-aborted"
            stray = Frame(name, number, frame.data, frame.timestamp_s)
            self.socket.send(self.stranger.encode(stray))
            self.log.stray_series.append(number)
            self.log.reject(number, Reason.NO_SERIES)
        if number in self.plan.stalls:
            time.sleep(self.stall_s)
            self.log.stalled.append(number)

    def _send(self, message: Message) -> None:
        parts = self.encoder.encode(message)
        if parts:
            self.socket.send(parts)
