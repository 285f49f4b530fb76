"""An areaDetector on pvAccess: posts series of images as its plugin NDPva does, with faults."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from cade.errors import CadeError, UsageError
from cade.frames import Beamline, Frame, Image, Reason, SeriesStart
from cade.wire.compression import Compression
from cade.wire.ntndarray import NtndArrayEncoder
from cade.wire.options import EncoderOptions
from simulator.broken_messages import other_shape
from simulator.emulated_series import EmulatedSeries
from simulator.emulator import EmulatorSummary
from simulator.emulator_log import SeriesLog
from simulator.faults import Faults, ImageFault, SeriesPlan, plan_faults
from simulator.pace import Pace
from simulator.stream_traits import Damage

FORMAT = "ntndarray"
RATE_HZ = 10.0
"""pvAccess holds no sender up: without a stated rate this one is slow enough for most receivers."""

_ENDPOINT = re.compile(r"pva://([!-~]{1,200})")
_SETTLE_S = 1.0
"""From a client's connection to its subscription, and from the last image to its arrival."""
_ABSURD = 1 << 30

Posted = dict[str, Any]


class PvaEmulator:
    """A pvAccess server with one NTNDArray; a context manager.

    It posts what a detector would, and holds nobody up nor waits for anybody: a receiver that is
    too slow, or not there, loses images. `uniqueId` counts from 1 in every series.

    Args:
        endpoint: `pva://` and the PV's name; EPICS_PVAS_INTF_ADDR_LIST and its like are obeyed.
        rate_hz: images per second.
        compression: of the images.
        role_key: attribute that has the role.
        beamline: its exposure goes into the attribute AcquireTime.
        timeout_s: how long to wait for a first client.

    Raises:
        UsageError: the endpoint is none, or the extra is not installed.
        CadeError: the server cannot be started.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        rate_hz: float | None = None,
        compression: Compression | None = None,
        role_key: str = "role",
        beamline: Beamline | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        match = _ENDPOINT.fullmatch(endpoint)
        if match is None:
            raise UsageError(
                f"the endpoint of {FORMAT} is pva:// and the name of a PV, for example "
                f"pva://CADE:Pva1:Image, not {endpoint!r:.80}"
            )
        self.endpoint = endpoint
        self._encoder = NtndArrayEncoder(EncoderOptions(role_key, compression))
        self._rate_hz = RATE_HZ if rate_hz is None else rate_hz
        self._beamline = beamline or Beamline()
        self._timeout_s = timeout_s
        self._client = threading.Event()
        self._sent_bytes = 0
        self._serve(match[1])

    def _serve(self, name: str) -> None:
        try:
            from p4p import Value
            from p4p.nt import NTNDArray
            from p4p.server import Server
            from p4p.server.raw import SharedPV
        except ImportError:
            raise UsageError(f"{FORMAT} needs p4p: pip install 'cade-daemon[pva]'") from None
        kind = NTNDArray().type
        self._value: Callable[[Posted], Any] = lambda posted: Value(kind, posted)
        self._pv = SharedPV(handler=_Handler(self._client), initial=self._value({}))
        try:
            self._server = Server([{name: self._pv}])
        except RuntimeError as error:
            raise CadeError(f"emulator: pvAccess cannot serve {name}: {error!s:.200}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            time.sleep(_SETTLE_S)
        self._server.stop()

    def publish(
        self,
        series: Sequence[EmulatedSeries],
        faults: Faults | None = None,
        *,
        seed: int = 0,
        stall_s: float = 1.0,
        report: Callable[[SeriesLog], object] = lambda _: None,
    ) -> EmulatorSummary:
        """Post the series one after another, once a client is there; as `Emulator.publish`.

        Raises:
            UsageError: a series is empty, stray images are asked for, or more faults than fit.
            CadeError: no client came in time.
        """
        faults = faults or Faults()
        if faults.stray or faults.stray_series:
            raise UsageError(f"stray images need a format whose series have names: not {FORMAT}")
        if not series or any(one.image_count < 1 for one in series):
            raise UsageError("emulator: there is nothing to publish")
        plans = plan_faults(faults, [one.image_count for one in series], seed)
        if not self._client.wait(self._timeout_s):
            raise CadeError(
                f"emulator: nobody connected to {self.endpoint} for {self._timeout_s:g} s; has the "
                "daemon's source this PV, and EPICS_PVA_ADDR_LIST this machine?"
            )
        time.sleep(_SETTLE_S)
        before = self._sent_bytes
        prefix = uuid.uuid4().hex[:8]
        pace, draw = Pace(self._rate_hz), np.random.default_rng([seed, 1])
        logs = []
        for number, (one, plan) in enumerate(zip(series, plans, strict=True)):
            log = SeriesLog(FORMAT, f"{prefix}-{number + 1}", one.role, one.image_count)
            self._send(one, plan, log, pace, draw, stall_s)
            report(log)
            logs.append(log)
        return EmulatorSummary(tuple(logs), self._sent_bytes - before)

    def _send(
        self,
        series: EmulatedSeries,
        plan: SeriesPlan,
        log: SeriesLog,
        pace: Pace,
        draw: np.random.Generator,
        stall_s: float,
    ) -> None:
        self._encoder.encode(
            SeriesStart(log.series_id, time.time(), role=series.role, beamline=self._beamline)
        )
        images = iter(series.images)
        held: Frame | None = None  # goes behind the next one
        for number in range(series.image_count):
            image = next(images, None)
            if image is None:
                raise UsageError(
                    f"emulator: series {log.series_id} has fewer images than it announces"
                )
            pace.wait()
            frame = Frame(log.series_id, number, image, time.time())
            if plan.images.get(number) == "reorder":
                held = frame
            else:
                self._image(frame, plan.images.get(number), log, draw)
                if held is not None:
                    log.reordered.append(held.image_id)
                    self._image(held, None, log, draw)
                    held = None
            if number in plan.stalls:
                time.sleep(stall_s)
                log.stalled.append(number)

    def _image(
        self, frame: Frame, fault: ImageFault | None, log: SeriesLog, draw: np.random.Generator
    ) -> None:
        """An image, whole or not, and a note of it."""
        number = frame.image_id
        posted = self._encoder.encode(dataclasses.replace(frame, image_id=number + 1))
        match fault:
            case "drop":
                log.dropped.append(number)
            case "truncate":
                member, pixels = posted["value"]
                self._post(posted | {"value": (member, pixels[: pixels.size // 2])})
                log.truncated.append(number)
                log.reject_broken(number, "truncate")
            case "corrupt":
                way, change = _damage(frame.data, draw)
                self._post(posted | change)
                log.corrupted.append((number, way))
                log.reject_broken(number, way)
            case "wrong_shape":
                shaped = Frame(
                    frame.series_id, number + 1, other_shape(frame.data), frame.timestamp_s
                )
                self._post(self._encoder.encode(shaped))
                log.wrong_shape.append(number)
                log.reject(number, Reason.WRONG_SHAPE)
            case _:
                self._post(posted)
                log.sent.append(number)
        if fault == "duplicate":
            self._post(posted)
            log.duplicated.append(number)
            log.reject(number, Reason.REPEATED)

    def _post(self, posted: Posted) -> None:
        self._pv.post(self._value(posted))
        self._sent_bytes += posted["value"][1].nbytes


class _Handler:
    """Told by p4p, in a thread of pvAccess, that the first client has come."""

    def __init__(self, client: threading.Event) -> None:
        self._client = client

    def onFirstConnect(self, _: object) -> None:  # noqa: N802 the name is p4p's
        self._client.set()


def _damage(image: Image, draw: np.random.Generator) -> tuple[Damage, Posted]:
    """Fields that no reader may believe, and what they stand for in the log."""
    height, width = image.shape
    ways: tuple[tuple[Damage, Posted], ...] = (
        ("header", {"dimension": [{"size": -width}, {"size": -height}]}),
        ("hostile", {"dimension": [{"size": _ABSURD}, {"size": _ABSURD}]}),
        ("part", {"dimension": []}),
        ("payload", {"codec": {"name": "corrupt", "parameters": 5}}),
    )
    return ways[int(draw.integers(len(ways)))]
