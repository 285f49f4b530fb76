"""CURVE on real sockets: who gets in, who does not, and what the log says of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import zmq
from zmq.auth.thread import ThreadAuthenticator

from cade.errors import CadeError
from cade.frames import SeriesStart
from cade.wire import encoder
from daemon.settings import StreamSettings
from daemon.sources.stream import StreamSource
from daemon.sources.stream_keys import KeyPair, read_keys, write_keys
from tests.stream_bench import PATIENCE_S, Context, free_endpoint, running

START = encoder("dectris-v2").encode(SeriesStart("a", 1e9, 1, (3, 4), "uint16"))
HERE = "tcp://127.0.0.1:*"


@pytest.fixture
def context() -> Iterator[Context]:
    with zmq.Context() as context:
        yield context
        context.destroy(linger=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys of the daemon, a detector, and a stranger."""
    for name in ("daemon", "detector", "stranger"):
        write_keys(tmp_path, name)
    return tmp_path


def pair(folder: Path, name: str) -> KeyPair:
    return read_keys(folder / f"{name}.key_secret")


def wait_for(condition: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(round(PATIENCE_S / 0.02)):
        if condition():
            return
        tick.wait(0.02)
    raise AssertionError("waited in vain")


class ListOfKeys:
    def __init__(self) -> None:
        self.allowed: set[bytes] = set()

    def callback(self, _: str, key: bytes) -> bool:
        return key in self.allowed


@contextmanager
def detector(folder: Path, *allowed: str) -> Iterator[tuple[zmq.Socket[bytes], ListOfKeys]]:
    """A bound detector that encrypts, and lets these in; its list may change."""
    keys, known = pair(folder, "detector"), ListOfKeys()
    known.allowed = {pair(folder, name).public for name in allowed}
    with zmq.Context() as own:
        authenticator = ThreadAuthenticator(own)
        authenticator.configure_curve_callback("*", known)
        authenticator.start()
        try:
            with own.socket(zmq.PUSH) as socket:
                socket.linger = 0
                socket.curve_server = True
                socket.curve_secretkey = keys.secret or b""
                socket.bind(HERE)
                yield socket, known
        finally:
            authenticator.stop()


def endpoint_of(socket: zmq.Socket[bytes]) -> str:
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def client(folder: Path, server: str = "detector", own: str = "daemon") -> dict[str, object]:
    return {
        "format": "dectris-v2",
        "curve_secret_key": folder / f"{own}.key_secret",
        "curve_server_key": folder / f"{server}.key",
    }


def problems(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.__dict__["problem"] for r in caplog.records if r.getMessage() == "stream refused"]


def test_an_encrypted_detector(context: Context, folder: Path) -> None:
    with (
        detector(folder, "daemon") as (socket, _),
        running(context, endpoint=endpoint_of(socket), **client(folder)) as run,
    ):
        socket.send_multipart(START)
        assert isinstance(run.next(), SeriesStart)


def test_a_daemon_that_is_not_allowed_and_then_is(
    context: Context, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, tried again all the time, and counts as no frame."""
    with (
        detector(folder, "stranger") as (socket, known),
        running(context, endpoint=endpoint_of(socket), **client(folder)) as run,
    ):
        wait_for(lambda: bool(problems(caplog)))
        known.allowed.add(pair(folder, "daemon").public)
        socket.sndtimeo = round(1000 * PATIENCE_S)
        socket.send_multipart(START)
        assert isinstance(run.next(), SeriesStart)
        assert run.finish() == []
    [problem] = problems(caplog)
    assert "the detector does not allow our public key" in problem


@pytest.mark.parametrize("case", ["another server", "plain daemon", "plain detector"])
def test_a_handshake_that_fails_is_said_once(
    context: Context, folder: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    with detector(folder, "daemon") as (socket, _), context.socket(zmq.PUSH) as plain:
        plain.bind(HERE)
        cases: dict[str, tuple[zmq.Socket[bytes], dict[str, object], str]] = {
            "another server": (
                socket,
                client(folder, server="stranger"),
                "is curve_server_key its",
            ),
            "plain daemon": (
                socket,
                {"format": "dectris-v2"},
                "set curve_secret_key and curve_ser",
            ),
            "plain detector": (plain, client(folder), "does it encrypt with CURVE"),
        }
        where, settings, what_to_do = cases[case]
        with running(context, endpoint=endpoint_of(where), **settings) as run:
            wait_for(lambda: bool(problems(caplog)))
            assert not run.stop.wait(1.5)  # time for many more
            assert run.finish() == []
    [problem] = problems(caplog)
    assert what_to_do in problem


def server(folder: Path, endpoint: str) -> dict[str, object]:
    (folder / "allowed").mkdir()
    (folder / "detector.key").rename(folder / "allowed" / "detector.key")
    return {
        "format": "dectris-v2",
        "bind": True,
        "endpoint": endpoint,
        "curve_secret_key": folder / "daemon.key_secret",
        "curve_allowed_keys": [folder / "allowed"],
    }


@contextmanager
def peer(context: Context, endpoint: str, keys: KeyPair | None, key: bytes) -> Iterator[Context]:
    with context.socket(zmq.PUSH) as socket:
        socket.linger = 0
        if keys is not None:
            socket.curve_serverkey = key
            socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret or b""
        socket.connect(endpoint)
        socket.send_multipart(START)
        yield context


def test_a_bound_daemon_lets_in_whom_its_list_names(
    context: Context, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a stranger, nor a plain peer, nor one with another key of ours gets a message in."""
    ours = pair(folder, "daemon").public
    known, stranger = pair(folder, "detector"), pair(folder, "stranger")
    endpoint = free_endpoint()
    refused = "a peer was refused: its public key is not in curve_allowed_keys"
    with (
        running(context, **server(folder, endpoint)) as run,
        peer(context, endpoint, stranger, ours),
        peer(context, endpoint, None, ours),
        peer(context, endpoint, known, stranger.public),
    ):
        wait_for(lambda: refused in caplog.messages and len(problems(caplog)) >= 2)
        with peer(context, endpoint, known, ours):
            assert isinstance(run.next(), SeriesStart)
            assert run.finish() == []
    [line] = [record for record in caplog.records if record.getMessage() == refused]
    assert line.__dict__["public_key"] == stranger.public.decode()
    assert sorted(problems(caplog)) == [
        "a peer hung up in the handshake: does it encrypt with CURVE, and has it the public key of "
        "this daemon?",
        "the peer has another public key of this daemon; give it the right one",
    ]
    for name in ("daemon", "detector", "stranger"):
        secret = pair(folder, name).secret
        assert secret is not None
        assert secret.decode() not in caplog.text


def test_two_bound_sources_have_lists_of_their_own(context: Context, folder: Path) -> None:
    ours, known = pair(folder, "daemon").public, pair(folder, "detector")
    stranger = pair(folder, "stranger")
    settings = server(folder, free_endpoint())
    other = settings | {
        "endpoint": free_endpoint(),
        "curve_allowed_keys": [folder / "stranger.key"],
    }
    with running(context, **settings) as first, running(context, **other) as second:
        with (
            peer(context, str(settings["endpoint"]), known, ours),
            peer(context, str(other["endpoint"]), stranger, ours),
            peer(context, str(settings["endpoint"]), stranger, ours),
        ):
            assert isinstance(first.next(), SeriesStart)
            assert isinstance(second.next(), SeriesStart)
        assert first.finish() == []
        assert second.finish() == []


def test_a_bound_endpoint_in_use_leaves_no_thread(context: Context, folder: Path) -> None:
    with context.socket(zmq.PULL) as taken:
        taken.bind(HERE)
        settings = StreamSettings.model_validate(server(folder, endpoint_of(taken)))
        with pytest.raises(CadeError, match="Address already in use"):
            next(StreamSource(settings, context).events(threading.Event()))


def test_a_bad_key_is_said_before_the_first_frame(context: Context, folder: Path) -> None:
    (folder / "daemon.key_secret").chmod(0o644)
    settings = StreamSettings.model_validate({"endpoint": "tcp://127.0.0.1:1", **client(folder)})
    with pytest.raises(CadeError, match="open to all users"):
        StreamSource(settings, context)


@pytest.mark.parametrize(
    ("endpoint", "warned"),
    [("tcp://*:*", True), ("tcp://0.0.0.0:*", True), (HERE, False), ("ipc://{}/s", False)],
)
def test_open_doors(
    context: Context,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    endpoint: str,
    warned: bool,
) -> None:
    settings = StreamSettings(format="dectris-v2", endpoint=endpoint.format(tmp_path), bind=True)
    stop = threading.Event()
    stop.set()
    with closing(StreamSource(settings, context).events(stop)) as events:
        assert list(events) == []
    assert ("everybody who reaches this endpoint" in caplog.text) == warned
