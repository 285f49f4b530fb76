"""The stream source on real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import cbor2
import karabo_bridge
import numpy as np
import pytest
import zmq
from pydantic import ValidationError

from cade.errors import CadeError
from cade.frames import Event, Frame, Reason, Role, SeriesEnd, SeriesStart
from cade.wire import Buffer, encoder
from daemon.settings import StreamSettings
from daemon.sources.connection import FEWEST
from daemon.sources.stream import StreamSource
from simulator.emulated_series import EmulatedSeries
from simulator.emulator import Emulator
from tests.stream_bench import (
    PATIENCE_S,
    PIXELS,
    Context,
    Detector,
    free_endpoint,
    kind,
    rejection,
    running,
)


@pytest.fixture
def context() -> Iterator[Context]:
    with zmq.Context() as context:
        yield context
        context.destroy(linger=0)


@pytest.fixture
def detector(context: Context) -> Iterator[Detector]:
    with closing(Detector(context, zmq.PUSH, "dectris-v2")) as detector:
        yield detector


def test_a_series(context: Context, detector: Detector) -> None:
    with running(context, format="dectris-v2", endpoint=detector.endpoint) as run:
        detector.start("a", Role.REFERENCE)
        detector.image("a", 0)
        detector.end("a")
        start, frame, end = run.next(), run.next(), run.next()
        assert run.finish() == []
    assert start == SeriesStart("a", 1e9, 5, (3, 4), "uint16", Role.REFERENCE)
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.data, PIXELS)
    assert (frame.role, frame.origin) == (Role.REFERENCE, detector.endpoint)
    assert end == SeriesEnd("a")
    assert run.thread.name == f"stream {detector.endpoint}"


def test_bad_messages_are_counted_and_the_next_good_one_comes(
    context: Context, detector: Detector
) -> None:
    good = encoder("dectris-v2").encode(Frame("a", 1, PIXELS, 1e9))[0]
    bad_data = cbor2.loads(good) | {"data": {}}
    hostile: list[list[Buffer]] = [
        [b""],
        [b"hello"],
        [good, b""],
        [bytes(good)[:-3]],
        [b"\x81" * 5000],
    ]
    hostile.append([cbor2.dumps(bad_data)])
    with running(context, format="dectris-v2", endpoint=detector.endpoint) as run:
        detector.socket.send(b"\xff")
        first = rejection(run.next())
        assert (first.series_id, first.image_id) == ("", -1)
        detector.start("a")
        assert isinstance(run.next(), SeriesStart)
        for number, parts in enumerate(hostile):
            detector.socket.send_multipart(parts)
            detector.image("a", 10 + number)
            rejected, frame = rejection(run.next()), run.next()
            assert rejected.reason is Reason.MALFORMED
            assert rejected.series_id == "a"
            assert rejected.origin == detector.endpoint
            assert isinstance(frame, Frame)
            assert frame.image_id == 10 + number
        assert rejected.image_id == 1
        assert "data must be a map" in rejected.detail


def test_images_that_belong_nowhere(context: Context, detector: Detector) -> None:
    with running(context, format="dectris-v2", endpoint=detector.endpoint) as run:
        detector.image("a", 0)
        detector.start("a")
        detector.image("a", 0)
        detector.image("a", 0)
        detector.start("b")
        detector.image("a", 2)
        detector.end("b")
        detector.image("b", 0)
        kinds = [kind(run.next()) for _ in range(9)]
    assert kinds == [
        Reason.NO_SERIES, SeriesStart, Frame, Reason.REPEATED, SeriesEnd, SeriesStart,
        Reason.NO_SERIES, SeriesEnd, Reason.NO_SERIES,
    ]  # fmt: skip


def test_silence_ends_a_series(context: Context, detector: Detector) -> None:
    with running(context, format="dectris-v2", endpoint=detector.endpoint, silence_s=0.01) as run:
        detector.start("a")
        assert isinstance(run.next(), SeriesStart)
        assert run.next() == SeriesEnd("a")
        detector.start("b")
        assert isinstance(run.next(), SeriesStart)


def test_no_silence_leaves_the_series_open_at_the_end(context: Context, detector: Detector) -> None:
    with running(context, format="dectris-v2", endpoint=detector.endpoint) as run:
        detector.start("a")
        assert isinstance(run.next(), SeriesStart)
        assert run.finish() == []


def test_array_1_0_over_pub(context: Context) -> None:
    settings = {"format": "array-1.0", "socket": "sub", "silence_s": 0.01}
    with (
        closing(Detector(context, zmq.XPUB, "array-1.0")) as detector,
        running(context, **settings, endpoint=detector.endpoint) as run,
    ):
        assert detector.socket.poll(round(PATIENCE_S * 1000))
        assert detector.socket.recv() == b"\x01"
        detector.image("a", 5)
        assert [kind(run.next()) for _ in range(3)] == [SeriesStart, Frame, SeriesEnd]
        detector.image("a", 6)  # after a silence the same source begins a series
        assert [kind(run.next()) for _ in range(3)] == [SeriesStart, Frame, SeriesEnd]


@pytest.mark.parametrize(("server", "receiver"), [("REP", "req"), ("PUSH", "pull")])
def test_karabo_bridge_of_its_own_package(context: Context, server: str, receiver: str) -> None:
    with karabo_bridge.ServerInThread("tcp://127.0.0.1:*", sock=server) as bridge:
        settings = {"format": "karabo", "socket": receiver, "endpoint": bridge.endpoint}
        with running(context, **settings) as run:
            for train in range(1, 5):
                about = {"cam": {"timestamp": 1e9, "timestamp.tid": train}}
                bridge.feed({"cam": {"data.image.pixels": PIXELS + train}}, about)
            start, *frames = [run.next() for _ in range(5)]
    assert isinstance(start, SeriesStart)
    assert start.lossy
    good = [frame for frame in frames if isinstance(frame, Frame)]
    assert [frame.image_id for frame in good] == [0, 1, 2, 3]
    np.testing.assert_array_equal(good[-1].data, PIXELS + 4)


def test_bridge_that_restarts_is_asked_again(context: Context) -> None:
    """Also where it has vanished with a request."""
    series = [EmulatedSeries(Role.SAMPLE, 2, [PIXELS, PIXELS])]
    first = Emulator("karabo", "tcp://127.0.0.1:*")
    with running(context, format="karabo", socket="req", endpoint=first.endpoint) as run:
        with first:
            first.publish(series)
            assert [kind(run.next()) for _ in range(3)] == [SeriesStart, Frame, Frame]
        with Emulator("karabo", first.endpoint) as second:
            second.publish(series)
            kinds = [kind(run.next()) for _ in range(4)]
    assert kinds == [SeriesEnd, SeriesStart, Frame, Frame]


def test_only_a_karabo_bridge_is_asked() -> None:
    with pytest.raises(ValidationError, match="socket = 'req' goes with format = 'karabo'"):
        StreamSettings(format="odin", endpoint="tcp://127.0.0.1:1", socket="req")
    with pytest.raises(ValidationError, match="leave bind = true out"):
        StreamSettings(format="karabo", endpoint="tcp://127.0.0.1:1", socket="req", bind=True)


def test_odin_live_view_of_one_dataset(context: Context) -> None:
    settings = {"format": "odin", "socket": "sub", "silence_s": 0.01, "channel": "data"}
    with (
        closing(Detector(context, zmq.XPUB, "odin")) as detector,
        running(context, **settings, endpoint=detector.endpoint) as run,
    ):
        assert detector.socket.poll(round(PATIENCE_S * 1000))
        detector.image("a", 5)
        assert [kind(run.next()) for _ in range(3)] == [SeriesStart, Frame, SeriesEnd]


@pytest.mark.parametrize("wire_format", ["dectris-v1", "stins"])
def test_late_images_of_other_formats(context: Context, wire_format: str) -> None:
    """Before a start, repeated, and after the end."""
    with (
        closing(Detector(context, zmq.PUSH, wire_format)) as detector,
        running(context, format=wire_format, endpoint=detector.endpoint) as run,
    ):
        detector.image("a", 0)
        detector.start("a")
        detector.image("a", 0)
        detector.image("a", 0)
        detector.end("a")
        detector.image("a", 1)
        kinds = [kind(run.next()) for _ in range(6)]
    assert kinds == [
        Reason.NO_SERIES, SeriesStart, Frame, Reason.REPEATED, SeriesEnd, Reason.NO_SERIES,
    ]  # fmt: skip


def test_bound_source(context: Context) -> None:
    endpoint = free_endpoint()
    with (
        context.socket(zmq.PUSH) as peer,
        running(context, format="dectris-v2", endpoint=endpoint, bind=True) as run,
    ):
        peer.linger = 0
        peer.connect(endpoint)
        peer.send_multipart(encoder("dectris-v2").encode(SeriesStart("a", 0, 1, (1, 1), "uint8")))
        assert isinstance(run.next(), SeriesStart)


def test_endpoint_in_use(context: Context, detector: Detector) -> None:
    settings = StreamSettings(format="dectris-v2", endpoint=detector.endpoint, bind=True)
    with pytest.raises(CadeError, match=r"cannot bind tcp://127.0.0.1:\d+: Address already in use"):
        next(StreamSource(settings, context).events(threading.Event()))


def test_impossible_endpoint(context: Context) -> None:
    settings = StreamSettings(format="dectris-v2", endpoint="tcp://nowhere")
    with pytest.raises(CadeError, match="cannot connect to tcp://nowhere: Invalid argument"):
        next(StreamSource(settings, context).events(threading.Event()))


def test_what_has_arrived_is_handed_on_after_stop(context: Context, detector: Detector) -> None:
    settings = StreamSettings(format="dectris-v2", endpoint=detector.endpoint)
    stop = threading.Event()
    events = StreamSource(settings, context).events(stop)
    sender = threading.Thread(target=send_series, args=(detector, 40))
    sender.start()
    assert isinstance(next(events), SeriesStart)
    assert isinstance(next(events), Frame)
    sender.join(PATIENCE_S)
    stop.set()
    left = [event.image_id for event in events if isinstance(event, Frame)]
    assert left == list(range(1, len(left) + 1))
    assert left


def send_series(detector: Detector, count: int) -> None:
    detector.start("a")
    for image_id in range(count):
        detector.image("a", image_id)


def test_a_detector_that_never_stops_sending_does_not_hold_the_source(
    context: Context, detector: Detector
) -> None:
    settings = StreamSettings(format="dectris-v2", endpoint=detector.endpoint)
    stop = threading.Event()
    stop.set()
    fed: list[Event] = []
    detector.socket.sndhwm = 1000
    source = StreamSource(settings, context).events(stop)
    sender = threading.Thread(target=send_series, args=(detector, 500))
    sender.start()
    for event in source:
        fed.append(event)
        assert len(fed) <= FEWEST
    # Whoever comes next takes the rest, so that the sender can end.
    with running(context, format="dectris-v2", endpoint=detector.endpoint):
        sender.join(PATIENCE_S)
    assert not sender.is_alive()


def test_message_above_the_limit_is_counted(context: Context, detector: Detector) -> None:
    with running(
        context, format="dectris-v2", endpoint=detector.endpoint, max_message_bytes=1000
    ) as run:
        detector.socket.send(bytes(1001))
        detector.start("a")
        rejected = rejection(run.next())
        assert "1001 bytes, more than the 1000 allowed" in rejected.detail
        assert isinstance(run.next(), SeriesStart)


def test_absurd_message_breaks_the_connection_only_once(
    context: Context, detector: Detector
) -> None:
    """ZeroMQ would never connect again after it."""
    with running(
        context, format="dectris-v2", endpoint=detector.endpoint, max_message_bytes=1000
    ) as run:
        detector.start("a")
        assert isinstance(run.next(), SeriesStart)
        detector.socket.send(bytes(100_000))
        rejected = rejection(run.next())
        assert "a message above 4000 bytes" in rejected.detail
        detector.image("a", 1)
        assert isinstance(run.next(), Frame)


def test_detector_that_restarts_is_connected_to_again(context: Context) -> None:
    with zmq.Context() as own:
        first = Detector(own, zmq.PUSH, "dectris-v2")
        with context.socket(zmq.PUSH) as second:
            second.linger = 0
            with running(context, format="dectris-v2", endpoint=first.endpoint) as run:
                first.start("a")
                assert isinstance(run.next(), SeriesStart)
                first.close()
                own.term()  # only now the port is free
                second.bind(first.endpoint)
                second.send_multipart(first.encoder.encode(SeriesEnd("a")))
                assert run.next() == SeriesEnd("a")


def test_peer_that_speaks_no_zeromq(context: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with running(context, format="dectris-v2", endpoint=endpoint) as run:
            peer, _ = server.accept()
            with peer:
                peer.sendall(
                    b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48) + b"\x04\x06\x05HELLO"
                )
                again, _ = server.accept()
                again.close()
                rejected = rejection(run.next())
    assert "does not speak ZeroMQ" in rejected.detail
