"""The detector emulator, received by the real source."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import karabo_bridge
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
from cade.wire import FORMATS
from cade.wire.compression import Compression
from daemon.settings import StreamSettings
from daemon.sources.stream import StreamSource
from simulator.emulated_series import EmulatedSeries
from simulator.emulator import Emulator, EmulatorSummary
from simulator.faults import Faults
from simulator.replay import SENDERS
from simulator.stream_traits import STREAM_TRAITS, SocketKind

PATIENCE_S = 30.0
LOOPBACK = "tcp://127.0.0.1:*"
WITH_END = ("dectris-v2", "dectris-v1", "stins")
RECEIVERS = {kind: receiver for receiver, kind in SENDERS.items()}
FAULTS = Faults(drop=2, duplicate=2, reorder=2, truncate=2, corrupt=4, wrong_shape=1)


def images(count: int, first: int = 0) -> list[Image]:
    return [np.full((6, 5), first + number, "u2") for number in range(count)]


def series() -> list[EmulatedSeries]:
    return [
        EmulatedSeries(Role.REFERENCE, 2, images(2)),
        EmulatedSeries(Role.SAMPLE, 8, iter(images(8, first=100))),
    ]


def long_series() -> list[EmulatedSeries]:
    return [
        EmulatedSeries(Role.REFERENCE, 20, images(20)),
        EmulatedSeries(Role.SAMPLE, 30, images(30, first=100)),
    ]


def receive(
    emulator: Emulator, sent: list[EmulatedSeries], faults: Faults, **settings: object
) -> tuple[list[Event], EmulatorSummary]:
    """Everything that a source yields while the emulator publishes."""
    stop = threading.Event()
    summaries: list[EmulatorSummary] = []
    events: list[Event] = []
    ends = len(sent) if settings["format"] in WITH_END else len(sent) - 1

    def complete() -> bool:
        received = sum(isinstance(event, Frame | Rejected) for event in list(events))
        ended = sum(isinstance(event, SeriesEnd) for event in list(events))
        return (received, ended) == (summaries[0].expected.received, ends)

    def publish() -> None:
        try:
            with emulator:
                summaries.append(emulator.publish(sent, faults, seed=7, stall_s=0.01))
            latest_s = time.monotonic() + PATIENCE_S
            while not complete() and time.monotonic() < latest_s:
                time.sleep(0.01)
        finally:
            stop.set()

    with zmq.Context() as context:
        source = StreamSource(
            StreamSettings.model_validate(settings | {"endpoint": emulator.endpoint}), context
        )
        thread = threading.Thread(target=publish)
        thread.start()
        events.extend(source.events(stop))
        thread.join()
    return events, summaries[0]


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
    assert [log.sent for log in summary.series] == [[0, 1], list(range(8))]
    assert (summary.images, summary.expected.rejected) == (10, {})
    assert summary.size_bytes > 0


@pytest.mark.parametrize("name", FORMATS)
def test_faults_over_what_the_detector_binds(name: str) -> None:
    """What comes out of the source is what the emulator's log says, image by image."""
    socket = RECEIVERS[STREAM_TRAITS[name].socket]
    events, summary = receive(
        Emulator(name, LOOPBACK), long_series(), FAULTS, format=name, socket=socket, silence_s=60
    )
    starts = [event for event in events if isinstance(event, SeriesStart)]
    assert [start.role for start in starts] == [Role.REFERENCE, Role.SAMPLE]
    for start, log, first in zip(starts, summary.series, (0, 100), strict=True):
        mine = [frame for frame in frames(events) if frame.series_id == start.series_id]
        good = {frame.image_id: frame.data for frame in mine if frame.data.shape == (6, 5)}
        assert sorted(good) == sorted(log.sent)
        assert all(data[0, 0] == first + number for number, data in good.items())
        assert [f.image_id for f in mine if f.data.shape != (6, 5)] == log.wrong_shape
        lost = [e for e in events if isinstance(e, Rejected) and e.series_id == start.series_id]
        shapes = [(number, Reason.WRONG_SHAPE) for number in log.wrong_shape]
        assert sorted([*((e.image_id, e.reason) for e in lost), *shapes]) == sorted(log.rejections)
    met = [len(log.dropped) + len(log.truncated) + len(log.corrupted) for log in summary.series]
    assert sum(met) == FAULTS.drop + FAULTS.truncate + FAULTS.corrupt


@pytest.mark.parametrize("name", WITH_END)
def test_strays(name: str) -> None:
    faults = Faults(stall=1, stray=3, stray_series=0 if name == "stins" else 4)
    events, summary = receive(Emulator(name, LOOPBACK), series(), faults, format=name)
    assert [len(log.strays) for log in summary.series] == [2, 1]
    assert sum(len(log.stalled) for log in summary.series) == 1
    lost = [event for event in events if isinstance(event, Rejected)]
    assert {event.reason for event in lost} == {Reason.NO_SERIES}
    assert len(lost) == faults.stray + faults.stray_series
    starts = [event for event in events if isinstance(event, SeriesStart)]
    assert [start.image_count for start in starts] == [2, 8]
    assert [frame.data[0, 0] for frame in frames(events)] == [0, 1, *range(100, 108)]


def test_the_seed_decides_whom_the_faults_meet() -> None:
    def logs(seed: int) -> list[str]:
        with Emulator("dectris-v2", LOOPBACK) as emulator, zmq.Context() as context:
            sink = context.socket(zmq.PULL)
            sink.connect(emulator.endpoint)
            sink.set_hwm(1000)
            sent = emulator.publish(long_series(), FAULTS, seed=seed)
            sink.close(linger=0)
        return [log.to_json().partition('"role"')[2] for log in sent.series]

    assert logs(1) == logs(1)
    assert logs(1) != logs(2)


@pytest.mark.parametrize("socket", RECEIVERS)
def test_karabo_over_every_socket(socket: SocketKind) -> None:
    emulator = Emulator("karabo", LOOPBACK, socket=socket)
    events, _ = receive(emulator, series(), Faults(), format="karabo", socket=RECEIVERS[socket])
    assert [frame.data[0, 0] for frame in frames(events)] == [0, 1, *range(100, 108)]


def test_karabo_as_its_own_package_reads_it() -> None:
    emulator = Emulator("karabo", LOOPBACK)

    def publish() -> None:
        with emulator:
            emulator.publish(series())

    thread = threading.Thread(target=publish)
    thread.start()
    with karabo_bridge.Client(emulator.endpoint, timeout=60) as client:
        trains = [client.next() for _ in range(10)]
    thread.join()
    values = [next(iter(data.values())) for data, _ in trains]
    found = [value["data.image.pixels"][0, 0] for value in values]
    assert found == [0, 1, *range(100, 108)]
    assert {value["role"] for value in values} == {"reference", "sample"}


def test_wrong_request_is_answered_and_the_next_one_served() -> None:
    emulator = Emulator("karabo", LOOPBACK)
    one = [EmulatedSeries(None, 1, images(1))]

    def publish() -> None:
        with emulator:
            emulator.publish(one)

    thread = threading.Thread(target=publish)
    thread.start()
    with zmq.Context() as context, context.socket(zmq.REQ) as asker:
        asker.linger = 0
        asker.connect(emulator.endpoint)
        asker.send(b"hello")
        assert asker.recv() == b"Error: bad request hello"
        asker.send(b"next")
        assert len(asker.recv_multipart()) == 4
    thread.join()


@pytest.mark.parametrize(("socket", "receiver"), [("push", "pull"), ("pub", "sub")])
def test_array_1_0(socket: SocketKind, receiver: str) -> None:
    emulator = Emulator("array-1.0", LOOPBACK, socket=socket)
    events, summary = receive(
        emulator, long_series(), FAULTS, format="array-1.0", socket=receiver, silence_s=60
    )
    good = [frame for frame in frames(events) if frame.data.shape == (6, 5)]
    assert len(good) == sum(len(log.sent) for log in summary.series)


def test_rate_does_not_change_what_is_sent() -> None:
    emulator = Emulator("dectris-v2", LOOPBACK, rate_hz=1000.0)
    events, _ = receive(emulator, series(), Faults(), format="dectris-v2")
    assert len(list(frames(events))) == 10


@pytest.mark.parametrize("socket", ["push", "pub", "rep"])
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
    with Emulator("dectris-v2", LOOPBACK, timeout_s=0.01) as emulator:
        for empty in ([], [EmulatedSeries(None, 0, [])]):
            with pytest.raises(UsageError, match="nothing to publish"):
                emulator.publish(empty)
        with pytest.raises(UsageError, match="fewer images than it announces"):
            emulator.publish([EmulatedSeries(None, 1, [])])


@pytest.mark.parametrize(
    ("name", "faults", "complaint"),
    [
        ("array-1.0", Faults(stray=1), "series end, such as dectris-v2; in array-1.0 none does"),
        ("stins", Faults(stray_series=1), "images name their series"),
        ("karabo", Faults(stray_series=1), "images name their series"),
        ("dectris-v2", Faults(drop=9), r"this many faults \(9\) do not fit: there is room for 8"),
    ],
)
def test_faults_that_cannot_be(name: str, faults: Faults, complaint: str) -> None:
    with Emulator(name, LOOPBACK) as emulator, pytest.raises(UsageError, match=complaint):
        emulator.publish(series(), faults)


def test_compression_that_the_format_has_not() -> None:
    compression: Compression
    for name, compression in (("array-1.0", "bslz4"), ("karabo", "lz4"), ("stins", "lz4")):
        with pytest.raises(UsageError, match=f"{name} carries no {compression}"):
            Emulator(name, LOOPBACK, compression=compression)
