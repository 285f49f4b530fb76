"""A detector on a socket: publishes series of images as the real one would, with faults."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from cade.errors import UsageError
from cade.frames import Beamline
from cade.wire import Encoder, encoder
from cade.wire.compression import Compression
from simulator.emulated_series import EmulatedSeries, SeriesSender
from simulator.emulator_log import Expected, SeriesLog, total
from simulator.emulator_socket import DetectorSocket
from simulator.faults import Faults, plan_faults
from simulator.pace import Pace
from simulator.stream_traits import STREAM_TRAITS, SocketKind


@dataclass(frozen=True, slots=True)
class EmulatorSummary:
    """What was sent."""

    series: tuple[SeriesLog, ...]
    size_bytes: int

    @property
    def images(self) -> int:
        """Images that the detector took."""
        return sum(series.images for series in self.series)

    @property
    def expected(self) -> Expected:
        """What an exact receiver counts."""
        return total(self.series)


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
        def new() -> Encoder:
            return encoder(
                wire_format,
                role_key=role_key,
                compression=compression,
                saturation_value=saturation_value,
            )

        self._encoder, self._stranger = new(), new()
        self._format, self._traits = wire_format, STREAM_TRAITS[wire_format]
        self._rate_hz = rate_hz
        self._beamline = beamline or Beamline()
        self._socket = DetectorSocket(socket or self._traits.socket, endpoint, timeout_s)
        self.endpoint = self._socket.endpoint
        """Where it is bound, with the port that was found."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.__exit__(kind, error, trace)

    def publish(
        self,
        series: Sequence[EmulatedSeries],
        faults: Faults | None = None,
        *,
        seed: int = 0,
        stall_s: float = 1.0,
        report: Callable[[SeriesLog], object] = lambda _: None,
    ) -> EmulatorSummary:
        """Send the series one after another, with the faults among them; returns what was sent.

        Args:
            series: what to send.
            faults: how many of each.
            seed: which images they meet.
            stall_s: length of a stall.
            report: told of every series that has been sent.

        Raises:
            UsageError: the format cannot show such a fault, there are more of them than images, or
                a series is empty.
            CadeError: nobody received in time.
        """
        faults = faults or Faults()
        self._check(faults)
        if not series or any(one.image_count < 1 for one in series):
            raise UsageError("emulator: there is nothing to publish")
        plans = plan_faults(faults, [one.image_count for one in series], seed)
        self._socket.await_subscriber()
        before = self._socket.sent_bytes
        prefix = uuid.uuid4().hex[:8]  # a receiver may see several emulators one after another
        pace = Pace(self._rate_hz)
        draw = np.random.default_rng([seed, 1])  # of the damage; the plan has the seed itself
        logs = []
        for number, (one, plan) in enumerate(zip(series, plans, strict=True)):
            log = SeriesLog(self._format, f"{prefix}-{number + 1}", one.role, one.image_count)
            sender = SeriesSender(
                self._socket, self._encoder, self._stranger, plan, log, draw, pace, stall_s
            )
            sender.send(one, self._beamline)
            report(log)
            logs.append(log)
        return EmulatorSummary(tuple(logs), self._socket.sent_bytes - before)

    def _check(self, faults: Faults) -> None:
        if faults.stray and not self._traits.announced:
            raise UsageError(
                "stray images need a format whose series end, such as dectris-v2; "
                f"in {self._format} none does"
            )
        if faults.stray_series and not self._traits.named:
            raise UsageError(
                "images of a stray series need a format with start messages whose images name "
                f"their series (dectris-v2, dectris-v1); in {self._format} they would be "
                "a series of their own, or none"
            )
