"""What a stream source makes of disorder, silence, several endpoints and peers that hang."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import numpy as np
import pytest
import zmq

from cade.frames import Event, Frame, Reason, Rejected, SeriesEnd, SeriesStart
from cade.wire import FORMATS, Message, encoder
from daemon.settings import StreamSettings
from daemon.sources.stream import StreamSource
from tests.daemon_process import environment
from tests.stream_bench import PATIENCE_S, PIXELS, Context, Detector, Running, kind, running

EXPLICIT = ("dectris-v2", "dectris-v1", "stins")
NAMED = ("dectris-v2", "dectris-v1")  # their images say to which series they belong
LIVE = ("odin", "karabo")
SHORT_S = 0.05
NEVER_S = 1000.0


@pytest.fixture
def context() -> Iterator[Context]:
    with zmq.Context() as context:
        yield context
        context.destroy(linger=0)


@pytest.fixture
def detector(context: Context) -> Iterator[Detector]:
    with closing(Detector(context, zmq.PUSH, "dectris-v2")) as detector:
        yield detector


@contextmanager
def stream(
    context: Context, wire_format: str, **settings: object
) -> Iterator[tuple[Detector, Running]]:
    """A detector of the format on a PUSH socket, and the source that pulls from it."""
    with (
        closing(Detector(context, zmq.PUSH, wire_format)) as detector,
        running(context, format=wire_format, endpoint=detector.endpoint, **settings) as run,
    ):
        yield detector, run


def image(series_id: str, image_id: int, time_s: float | None = None) -> Frame:
    return Frame(series_id, image_id, PIXELS, 1e9 + image_id if time_s is None else time_s)


def short(event: Event) -> object:
    """The number of an image, and the kind of all else."""
    return event.image_id if isinstance(event, Frame) else kind(event)


def shorts(run: Running, count: int) -> list[object]:
    return [short(run.next()) for _ in range(count)]


def details(events: list[Event]) -> list[str]:
    return [event.detail for event in events if isinstance(event, Rejected)]


# Disorder of images


@pytest.mark.parametrize("wire_format", FORMATS)
def test_swapped_repeated_and_missing_images(context: Context, wire_format: str) -> None:
    """In order where a gap means something; a live view is taken as it comes."""
    with stream(context, wire_format, reorder_s=SHORT_S) as (detector, run):
        detector.start("a")
        for image_id in (0, 2, 1, 1, 3, 5, 6):
            detector.send(image("a", image_id))
        found = shorts(run, 8)
        detector.end("a")
        detector.start("b")
        detector.send(image("b", 0))
        while (event := short(run.next())) is not SeriesStart:
            assert event is SeriesEnd
        assert short(run.next()) == 0
    middle = [2, 1, Reason.REPEATED] if wire_format in LIVE else [1, 2, Reason.REPEATED]
    assert found == [SeriesStart, 0, *middle, 3, 5, 6]


def test_an_orderly_stream_is_handed_on_at_once(context: Context) -> None:
    with stream(context, "dectris-v2", reorder_s=NEVER_S) as (detector, run):
        detector.start("a")
        assert short(run.next()) is SeriesStart
        for image_id in range(20):
            detector.image("a", image_id)
            assert short(run.next()) == image_id


def test_a_full_window_does_not_wait_for_silence(context: Context) -> None:
    with stream(context, "dectris-v2", reorder_s=NEVER_S, reorder_frames=2) as (detector, run):
        detector.start("a")
        for image_id in (1, 2, 3, 0):
            detector.image("a", image_id)
        assert shorts(run, 5) == [SeriesStart, 1, 2, 3, 0]


def test_without_a_window_images_pass_as_they_come(context: Context) -> None:
    with stream(context, "dectris-v2", reorder_frames=0) as (detector, run):
        detector.start("a")
        for image_id in (2, 0, 1):
            detector.image("a", image_id)
        assert shorts(run, 4) == [SeriesStart, 2, 0, 1]


@pytest.mark.parametrize("how", ["end", "stop"])
def test_what_is_held_back_comes_at_the_end(context: Context, how: str) -> None:
    with stream(context, "dectris-v2", reorder_s=NEVER_S) as (detector, run):
        detector.start("a")
        detector.image("a", 2)
        assert short(run.next()) is SeriesStart
        detector.send(SeriesStart("b", 0.0, 1, (1, 1), "uint8")) if how == "end" else None
        if how == "end":
            assert shorts(run, 3) == [2, SeriesEnd, SeriesStart]
        else:
            detector.image("x", 0)  # once it is rejected, image 2 has come as well
            assert short(run.next()) is Reason.NO_SERIES
            assert [short(event) for event in run.finish()] == [2]


def test_images_stay_views_of_zeromqs_memory(context: Context) -> None:
    with stream(context, "dectris-v2") as (detector, run):
        detector.start("a")
        for image_id in (1, 0):
            detector.image("a", image_id)
        _, first, second = run.next(), run.next(), run.next()
        for event in (first, second):
            assert isinstance(event, Frame)
            base: object = event.data
            while isinstance(base, np.ndarray):
                base = base.base
            assert isinstance(base, memoryview), "copied on the way"


# Disorder of messages


@pytest.mark.parametrize("wire_format", EXPLICIT)
def test_messages_out_of_place(context: Context, wire_format: str) -> None:
    """Image before its start, end before its start, image and end after the end."""
    with stream(context, wire_format) as (detector, run):
        detector.image("a", 0)
        detector.end("a")
        detector.start("a")
        detector.image("a", 0)
        detector.end("a")
        detector.image("a", 1)
        detector.end("a")
        detector.start("b")
        detector.image("b", 0)
        found = [run.next() for _ in range(8)]
    assert [short(event) for event in found] == [
        Reason.NO_SERIES, Reason.NO_SERIES, SeriesStart, 0, SeriesEnd, Reason.NO_SERIES,
        SeriesStart, 0,
    ]  # fmt: skip
    before, end, after = details(found)
    assert "image 0 belongs to series" in before
    assert "whose start message has not come" in before
    assert "the end message of series" in end
    assert after.endswith("which has ended")


@pytest.mark.parametrize("wire_format", EXPLICIT)
def test_a_start_in_mid_series_aborts_it(
    context: Context, wire_format: str, caplog: pytest.LogCaptureFixture
) -> None:
    with stream(context, wire_format) as (detector, run):
        detector.start("a")
        detector.image("a", 0)
        detector.start("b")
        detector.image("b", 0)
        assert shorts(run, 5) == [SeriesStart, 0, SeriesEnd, SeriesStart, 0]
    assert "series aborted" in caplog.messages


@pytest.mark.parametrize("wire_format", NAMED)
def test_images_of_an_aborted_series_are_set_aside(context: Context, wire_format: str) -> None:
    with stream(context, wire_format) as (detector, run):
        detector.start("a")
        old = [detector.encoder.encode(image("a", image_id)) for image_id in range(3)]
        detector.socket.send_multipart(old[0])
        detector.start("b")
        for parts in old[1:]:
            detector.socket.send_multipart(parts)
        detector.image("b", 0)
        found = [run.next() for _ in range(7)]
    assert [short(event) for event in found] == [
        SeriesStart, 0, SeriesEnd, SeriesStart, Reason.NO_SERIES, Reason.NO_SERIES, 0,
    ]  # fmt: skip
    for text in details(found):
        assert "which was aborted by the start of series" in text


@pytest.mark.parametrize("wire_format", NAMED)
def test_a_start_message_that_is_sent_twice(context: Context, wire_format: str) -> None:
    with stream(context, wire_format) as (detector, run):
        parts = detector.encoder.encode(SeriesStart("a", 1e9, 5, (3, 4), "uint16"))
        for _ in range(2):
            detector.socket.send_multipart(parts)
        detector.image("a", 0)
        found = [run.next() for _ in range(3)]
    assert [short(event) for event in found] == [SeriesStart, Reason.REPEATED, 0]
    assert "came twice" in details(found)[0]


@pytest.mark.parametrize("change", ["one more", "one less"])
@pytest.mark.parametrize("wire_format", FORMATS)
def test_wrong_part_counts(context: Context, wire_format: str, change: str) -> None:
    """A part too many is an appendix in some formats, so several are added."""
    with stream(context, wire_format) as (detector, run):
        detector.start("a")
        detector.send(image("a", 0))
        parts = detector.encoder.encode(image("a", 1))
        wrong = [*parts, *[b"x"] * 11] if change == "one more" else [*parts[:-1]] or [b""]
        detector.socket.send_multipart(wrong)
        detector.send(image("a", 1))
        assert shorts(run, 4) == [SeriesStart, 0, Reason.MALFORMED, 1]


# Silence


@pytest.mark.parametrize("wire_format", FORMATS)
def test_silence_ends_a_series_of_every_format(context: Context, wire_format: str) -> None:
    """What comes then begins a series, or is of one that is over."""
    with stream(context, wire_format, silence_s=SHORT_S) as (detector, run):
        detector.start("a")
        detector.send(image("a", 0))
        assert shorts(run, 3) == [SeriesStart, 0, SeriesEnd]
        detector.send(image("a", 1))
        if wire_format not in EXPLICIT:
            assert shorts(run, 3) == [SeriesStart, 0, SeriesEnd]
            return
        late = run.next()
        assert isinstance(late, Rejected)
        assert late.reason is Reason.NO_SERIES
        assert late.detail.endswith("which was ended by silence")
        detector.end("a")
        detector.start("b")
        assert short(run.next()) is SeriesStart


def test_an_end_on_demand(context: Context, detector: Detector) -> None:
    settings = StreamSettings(format="dectris-v2", endpoint=detector.endpoint)
    source = StreamSource(settings, context)
    run = Running(source)
    try:
        detector.start("a")
        assert short(run.next()) is SeriesStart
        source.end_series()
        assert short(run.next()) is SeriesEnd
    finally:
        run.finish()


# Memory


@pytest.mark.parametrize("queue_frames", [8, 40])
def test_memory_of_a_source_that_is_held_up(context: Context, queue_frames: int) -> None:
    """A consumer that stops lets the detector send what the budget holds, and little more."""
    pixels = np.zeros((1024, 512), "u2")  # 1 MiB
    with closing(Detector(context, zmq.PUSH, "dectris-v2", queue=1)) as detector:
        settings = StreamSettings(
            format="dectris-v2", endpoint=detector.endpoint, queue_bytes=queue_frames << 20
        )
        stop = threading.Event()
        with closing(StreamSource(settings, context).events(stop)) as events:
            sender: queue.Queue[int] = queue.Queue()
            thread = threading.Thread(target=lambda: sender.put(fill(detector, pixels)))
            thread.start()
            assert isinstance(next(events), SeriesStart)  # and is not asked again
            sent = sender.get(timeout=PATIENCE_S)
            thread.join(PATIENCE_S)
            # Beside the budget: ZeroMQ at both ends, and the buffers of the kernel.
            assert 0.75 * queue_frames <= sent <= 0.75 * queue_frames + 30
            for image_id in range(sent):
                frame = next(events)
                assert isinstance(frame, Frame)
                assert frame.image_id == image_id


def fill(detector: Detector, pixels: np.ndarray[tuple[int, int], np.dtype[np.uint16]]) -> int:
    """Send images until nobody takes them for a while; returns how many went."""
    detector.start("a")
    detector.socket.sndtimeo = 400
    for image_id in range(1000):
        try:
            detector.send(Frame("a", image_id, pixels, 1e9))
        except zmq.Again:
            return image_id
    return 1000


def test_a_consumer_that_leaves_ends_the_thread(context: Context, detector: Detector) -> None:
    """The fixture of all tests fails where a thread is left."""
    settings = StreamSettings(format="dectris-v2", endpoint=detector.endpoint)
    events = StreamSource(settings, context).events(threading.Event())
    sender = threading.Thread(target=detector.start, args="a")
    sender.start()
    assert isinstance(next(events), SeriesStart)
    sender.join(PATIENCE_S)
    assert any(thread.name.startswith("receive ") for thread in threading.enumerate())
    events.close()
    assert not any(thread.name.startswith("receive ") for thread in threading.enumerate())


# Peers that hang

SENDER = """
import sys, zmq
from cade.frames import SeriesStart
from cade.wire import encoder
socket = zmq.Context().socket(zmq.PUSH)
socket.bind(sys.argv[1])
print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
wire = encoder("dectris-v2")
for line in sys.stdin:
    socket.send_multipart(wire.encode(SeriesStart(line.strip(), 1e9, 5, (3, 4), "uint16")))
"""


@contextmanager
def sender_process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SENDER, "tcp://127.0.0.1:*"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_stopped_detector_is_noticed_and_found_again(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with sender_process() as (process, endpoint):
        settings = {"format": "dectris-v2", "endpoint": endpoint, "heartbeat_s": 0.05}
        with running(context, **settings) as run:
            assert process.stdin is not None
            print("a", file=process.stdin, flush=True)
            assert short(run.next()) is SeriesStart
            os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda: "stream connection lost" in caplog.messages)
            os.kill(process.pid, signal.SIGCONT)
            wait_until(lambda: caplog.messages.count("stream connected") > 1)
            print("b", file=process.stdin, flush=True)
            assert shorts(run, 2) == [SeriesEnd, SeriesStart]


def test_a_quiet_detector_that_lives_is_kept(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with stream(context, "dectris-v2", heartbeat_s=0.02) as (detector, run):
        assert not run.stop.wait(0.5)
        detector.start("a")
        assert short(run.next()) is SeriesStart
    assert caplog.messages.count("stream connected") == 1
    assert "stream connection lost" not in caplog.messages


def test_a_peer_that_never_answers_is_connected_to_again(context: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with running(context, format="dectris-v2", endpoint=endpoint, heartbeat_s=0.05):
            first, _ = server.accept()
            second, _ = server.accept()
            first.close()
            second.close()


def wait_until(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(round(PATIENCE_S / 0.02)):
        if condition():
            return
        done.wait(0.02)
    raise AssertionError("waited in vain")


# Several endpoints


class Modules:
    """Detectors that send one series by several endpoints, each in its turn."""

    def __init__(self, context: Context, count: int, wire_format: str = "dectris-v2") -> None:
        with ExitStack() as stack:
            self.all = [
                stack.enter_context(closing(Detector(context, zmq.PUSH, wire_format)))
                for _ in range(count)
            ]
            self._stack = stack.pop_all()

    def __enter__(self) -> Modules:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def settings(self) -> dict[str, object]:
        first, *more = (one.endpoint for one in self.all)
        return {"endpoint": first, "more_endpoints": more}

    def send(self, index: int, message: Message) -> None:
        self.all[index].send(message)


@pytest.mark.parametrize("wire_format", ["dectris-v2", "dectris-v1", "array-1.0"])
def test_several_endpoints_of_one_series(context: Context, wire_format: str) -> None:
    """Each sends a start and an end, the images take turns: all in order, nothing is lost."""
    count = 40
    with (
        Modules(context, 3, wire_format) as modules,
        running(context, format=wire_format, **modules.settings) as run,
    ):
        begin = SeriesStart("a", 1e9, count, (3, 4), "uint16")
        modules.send(0, begin)
        modules.send(0, image("a", 0))  # begins the series where nothing else does
        assert shorts(run, 2) == [SeriesStart, 0]
        for index in (1, 2):
            modules.send(index, begin)
        for image_id in range(1, count):
            modules.send(image_id % 3, image("a", image_id))
        for index in range(3):
            modules.send(index, SeriesEnd("a"))
        found = shorts(run, count - 1)
        if wire_format in EXPLICIT:
            assert short(run.next()) is SeriesEnd
        assert run.finish() == []
    assert found == list(range(1, count))


def test_images_that_overtake_their_start_by_another_endpoint(context: Context) -> None:
    with (
        Modules(context, 2) as modules,
        running(context, format="dectris-v2", reorder_s=NEVER_S, **modules.settings) as run,
    ):
        modules.send(1, image("a", 1))
        modules.all[1].socket.send(b"\xff")  # once it is rejected, the image has come as well
        assert short(run.next()) is Reason.MALFORMED
        modules.send(0, SeriesStart("a", 1e9, 2, (3, 4), "uint16"))
        modules.send(0, image("a", 0))
        assert shorts(run, 3) == [SeriesStart, 0, 1]
        modules.send(1, SeriesEnd("a"))  # the only end, and all images are there
        assert short(run.next()) is SeriesEnd


@pytest.mark.parametrize("endpoints", [1, 2])
def test_images_whose_start_never_comes(context: Context, endpoints: int) -> None:
    with (
        Modules(context, endpoints) as modules,
        running(context, format="dectris-v2", reorder_s=SHORT_S, **modules.settings) as run,
    ):
        for image_id in range(20):  # more than may wait
            modules.send(0, image("a", image_id))
        found = [run.next() for _ in range(20)]
        assert {short(event) for event in found} == {Reason.NO_SERIES}
        ids = [event.image_id for event in found if isinstance(event, Rejected)]
        assert sorted(ids) == list(range(20))


def test_an_end_that_overtakes_images_of_another_endpoint(context: Context) -> None:
    with (
        Modules(context, 2) as modules,
        running(context, format="dectris-v2", reorder_s=NEVER_S, **modules.settings) as run,
    ):
        modules.send(0, SeriesStart("a", 1e9, 2, (3, 4), "uint16"))
        modules.send(0, image("a", 0))
        modules.send(0, SeriesEnd("a"))
        modules.all[0].socket.send(b"\xff")
        assert shorts(run, 3) == [SeriesStart, 0, Reason.MALFORMED]
        modules.send(1, image("a", 1))
        assert shorts(run, 2) == [1, SeriesEnd]


def test_an_end_ends_a_series_of_which_an_image_is_missing(context: Context) -> None:
    with (
        Modules(context, 2) as modules,
        running(context, format="dectris-v2", reorder_s=SHORT_S, **modules.settings) as run,
    ):
        modules.send(0, SeriesStart("a", 1e9, 3, (3, 4), "uint16"))
        modules.send(0, image("a", 2))
        modules.send(0, SeriesEnd("a"))
        assert shorts(run, 3) == [SeriesStart, 2, SeriesEnd]


def test_an_endpoint_that_is_not_there_does_not_hold_up_the_other(context: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        gone = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
    with (
        closing(Detector(context, zmq.PUSH, "dectris-v2")) as detector,
        running(
            context, format="dectris-v2", endpoint=gone, more_endpoints=[detector.endpoint]
        ) as run,
    ):
        detector.start("a")
        assert short(run.next()) is SeriesStart
        assert run.thread.name == f"stream {gone}, {detector.endpoint}"


# What the settings add


@pytest.mark.parametrize(("name", "found"), [("eiger-2", "eiger-2"), ("", None)])
def test_the_name_of_the_detector(context: Context, name: str, found: str | None) -> None:
    with stream(context, "dectris-v2", detector=name) as (detector, run):
        detector.start("a")
        start = run.next()
        assert isinstance(start, SeriesStart)
        assert start.beamline.detector == found


@pytest.mark.parametrize("wanted", [True, False])
def test_the_detectors_own_calibration(context: Context, wanted: bool) -> None:
    import cbor2

    with stream(context, "dectris-v2", detector_calibration=wanted) as (detector, run):
        [start] = encoder("dectris-v2").encode(SeriesStart("a", 1e9, 5, (3, 4), "uint16"))
        mask = cbor2.CBORTag(40, [[3, 4], cbor2.CBORTag(64, bytes(12))])
        message = cbor2.loads(start) | {"pixel_mask": {"threshold_1": mask}}
        detector.socket.send(cbor2.dumps(message))
        found = run.next()
        assert isinstance(found, SeriesStart)
        assert (found.pixel_mask is not None) == wanted
