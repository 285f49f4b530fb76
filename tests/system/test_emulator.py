"""The detector emulator, received by the real source."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import zmq

from cade.errors import CadeError, UsageError
from cade.frames import (
    Beamline,
    Event,
    Frame,
    Image,
    Reason,
    Rejected,
    Role,
    SeriesEnd,
    SeriesStart,
)
from cade.wire.compression import Compression
from daemon.settings import StreamSettings
from daemon.sources.stream import StreamSource
from simulator.emulator import EmulatedSeries, Emulator, EmulatorSummary, SocketKind
from simulator.faults import Faults

LOOPBACK = "tcp://127.0.0.1:*"


def images(count: int, first: int = 0) -> list[Image]:
    return [np.full((6, 5), first + number, "u2") for number in range(count)]


def series() -> list[EmulatedSeries]:
    return [
        EmulatedSeries(Role.REFERENCE, 2, images(2)),
        EmulatedSeries(Role.SAMPLE, 8, iter(images(8, first=100))),
    ]


def receive(
    emulator: Emulator, sent: list[EmulatedSeries], faults: Faults, **settings: object
) -> tuple[list[Event], EmulatorSummary]:
    """Everything that a source yields while the emulator publishes."""
    stop = threading.Event()
    summaries: list[EmulatorSummary] = []

    def publish() -> None:
        with emulator:
            summaries.append(emulator.publish(sent, faults))

    with zmq.Context() as context:
        source = StreamSource(
            StreamSettings.model_validate(settings | {"endpoint": emulator.endpoint}), context
        )
        thread = threading.Thread(target=publish)
        thread.start()
        events = []
        messages = sum(one.image_count for one in sent) + faults.total
        for event in source.events(stop):
            events.append(event)
            if Counter(type(e) for e in events)[Frame] + rejections(events) == messages:
                stop.set()
        thread.join()
    return events, summaries[0]


def rejections(events: list[Event]) -> int:
    return sum(isinstance(event, Rejected) for event in events)


def frames(events: list[Event]) -> Iterator[Frame]:
    return (event for event in events if isinstance(event, Frame))


@pytest.mark.parametrize("compression", [None, "bslz4", "lz4"])
def test_dectris_v2(compression: Compression | None) -> None:
    emulator = Emulator(
        "dectris-v2",
        LOOPBACK,
        compression=compression,
        saturation_value=500,
        beamline=Beamline(energy_ev=3e4),
    )
    events, summary = receive(emulator, series(), Faults(), format="dectris-v2")
    starts = [event for event in events if isinstance(event, SeriesStart)]
    assert [(start.role, start.image_count) for start in starts] == [
        (Role.REFERENCE, 2),
        (Role.SAMPLE, 8),
    ]
    assert starts[0].beamline.energy_ev == 3e4
    assert len({start.series_id for start in starts}) == 2
    assert [(f.role, f.image_id, f.data[0, 0]) for f in frames(events)] == [
        *((Role.REFERENCE, n, n) for n in range(2)),
        *((Role.SAMPLE, n, 100 + n) for n in range(8)),
    ]
    assert {frame.saturation_value for frame in frames(events)} == {500}
    assert (summary.series, summary.images, summary.faults) == (2, 10, Faults())
    assert summary.size_bytes > 0


@pytest.mark.parametrize(("socket", "receiver"), [("push", "pull"), ("pub", "sub")])
def test_array_1_0(socket: SocketKind, receiver: str) -> None:
    emulator = Emulator("array-1.0", LOOPBACK, socket=socket)
    faults = Faults(truncate=2, corrupt=3, wrong_shape=1)
    events, _ = receive(emulator, series(), faults, format="array-1.0", socket=receiver)
    starts = [event.role for event in events if isinstance(event, SeriesStart)]
    assert starts == [Role.REFERENCE, Role.SAMPLE]
    good = [frame for frame in frames(events) if frame.data.shape == (6, 5)]
    assert [frame.data[0, 0] for frame in good] == [0, 1, *range(100, 108)]
    assert sum(frame.data.shape != (6, 5) for frame in frames(events)) == 1
    assert rejections(events) == 5


def test_faults_of_dectris_v2() -> None:
    faults = Faults(truncate=2, corrupt=6, wrong_shape=2, stray=3)
    emulator = Emulator("dectris-v2", LOOPBACK, compression="bslz4")
    events, summary = receive(emulator, series(), faults, format="dectris-v2")
    reasons = Counter(event.reason for event in events if isinstance(event, Rejected))
    assert reasons == {Reason.MALFORMED: 8, Reason.NO_SERIES: 3}
    good = [frame for frame in frames(events) if frame.data.shape == (6, 5)]
    assert [frame.data[0, 0] for frame in good] == [0, 1, *range(100, 108)]
    assert sum(frame.data.shape == (5, 5) for frame in frames(events)) == 2
    starts = [event for event in events if isinstance(event, SeriesStart)]
    assert sum(start.image_count or 0 for start in starts) == 12  # what a detector would count
    assert sum(isinstance(event, SeriesEnd) for event in events) == 2
    assert summary.faults == faults


def test_rate_does_not_change_what_is_sent() -> None:
    emulator = Emulator("dectris-v2", LOOPBACK, rate_hz=1000.0)
    events, _ = receive(emulator, series(), Faults(), format="dectris-v2")
    assert len(list(frames(events))) == 10


@pytest.mark.parametrize("socket", ["push", "pub"])
def test_nobody_receives(socket: SocketKind) -> None:
    with (
        pytest.raises(CadeError, match=r"nobody received on tcp://127\.0\.0\.1:\d+ for 0.01 s"),
        Emulator("array-1.0", LOOPBACK, socket=socket, timeout_s=0.01) as emulator,
    ):
        emulator.publish(series())


def test_endpoint_in_use() -> None:
    with (
        Emulator("array-1.0", LOOPBACK) as emulator,
        pytest.raises(CadeError, match=r"cannot bind .*: Address already in use"),
    ):
        Emulator("array-1.0", emulator.endpoint)


def test_nothing_to_publish() -> None:
    with Emulator("array-1.0", LOOPBACK, timeout_s=0.01) as emulator:
        for empty in ([], [EmulatedSeries(None, 0, [])]):
            with pytest.raises(UsageError, match="nothing to publish"):
                emulator.publish(empty)
        with pytest.raises(UsageError, match="fewer images than it announces"):
            emulator.publish([EmulatedSeries(None, 1, [])])


def test_strays_need_an_end() -> None:
    with (
        Emulator("array-1.0", LOOPBACK) as emulator,
        pytest.raises(UsageError, match="series end, such as dectris-v2"),
    ):
        emulator.publish(series(), Faults(stray=1))


def test_compression_that_the_format_has_not() -> None:
    with pytest.raises(UsageError, match=r"array-1\.0 carries no bslz4"):
        Emulator("array-1.0", LOOPBACK, compression="bslz4")
