"""The detector emulator, received by the real source."""

from __future__ import annotations

import threading
from collections import Counter
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
from simulator.emulator import SOCKETS, EmulatedSeries, Emulator, EmulatorSummary, SocketKind
from simulator.faults import Faults

LOOPBACK = "tcp://127.0.0.1:*"
WITH_END = ("dectris-v2", "dectris-v1", "stins")
RECEIVERS = {"push": "pull", "pub": "sub", "rep": "req"}


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
        ends = len(sent) if settings["format"] in WITH_END else len(sent) - 1
        for event in source.events(stop):
            events.append(event)
            kinds = Counter(type(e) for e in events)
            if kinds[Frame] + rejections(events) == messages and kinds[SeriesEnd] == ends:
                stop.set()  # not before: what is sent to nobody is waited for
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


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_over_what_its_detector_binds(name: str) -> None:
    """Good images pass, and every broken message is refused."""
    strays = 2 if name in WITH_END else 0
    faults = Faults(truncate=2, corrupt=6, wrong_shape=1, stray=strays)
    events, summary = receive(
        Emulator(name, LOOPBACK), series(), faults, format=name, socket=RECEIVERS[SOCKETS[name]]
    )
    starts = [event.role for event in events if isinstance(event, SeriesStart)]
    assert starts == [Role.REFERENCE, Role.SAMPLE]
    good = [frame for frame in frames(events) if frame.data.shape == (6, 5)]
    assert [frame.data[0, 0] for frame in good] == [0, 1, *range(100, 108)]
    assert [frame.role for frame in good] == [Role.REFERENCE] * 2 + [Role.SAMPLE] * 8
    assert sum(frame.data.shape != (6, 5) for frame in frames(events)) == 1
    reasons = Counter(event.reason for event in events if isinstance(event, Rejected))
    assert reasons == Counter({Reason.MALFORMED: 8, Reason.NO_SERIES: strays})
    assert summary.faults == faults


@pytest.mark.parametrize("socket", SOCKETS.values())
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


def test_strays_need_an_end() -> None:
    with (
        Emulator("array-1.0", LOOPBACK) as emulator,
        pytest.raises(UsageError, match="series end, such as dectris-v2"),
    ):
        emulator.publish(series(), Faults(stray=1))


def test_compression_that_the_format_has_not() -> None:
    compression: Compression
    for name, compression in (("array-1.0", "bslz4"), ("karabo", "lz4"), ("stins", "lz4")):
        with pytest.raises(UsageError, match=f"{name} carries no {compression}"):
            Emulator(name, LOOPBACK, compression=compression)
