"""`cade record`: the raw messages of a live stream into a file, for `cade emulate --recording`."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cade.errors import UsageError
from cade.wire import FORMATS, Buffer
from cade.wire.recording import Receiver, RecordingHeader, RecordingWriter
from daemon.commands.argument_types import positive, quantity
from daemon.commands.record_summary import print_summary

if TYPE_CHECKING:
    from daemon.settings import StreamSettings

HELP = "store the raw messages of a live stream"
EXAMPLE = "cade record --format dectris-v2 --endpoint tcp://detector:31001 --output scan.cade"

_POLL_S = 0.1
_QUEUE_MESSAGES = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is recorded, how long, and where to."""
    add = parser.add_argument
    add("--endpoint", metavar="tcp://HOST:PORT", help="where the stream is")
    add("--output", type=Path, metavar="FILE", help="new file")
    add(
        "--format", default="", metavar="NAME", help="kept with the messages, which are not decoded"
    )
    add(
        "--socket",
        choices=("pull", "sub", "req"),
        help="default: what goes with the format's detector, or else pull",
    )
    add("--bind", action="store_true", help="bind the endpoint instead of connecting to it")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--messages", type=positive, metavar="N", help="end after so many")
    end.add_argument("--seconds", type=quantity, metavar="S", help="end after so long")
    add("--summary", type=Path, metavar="FILE", help="only say what a recording holds")


def run(arguments: argparse.Namespace) -> int:
    """Record until told to stop."""
    if arguments.summary is not None:
        print_summary(arguments.summary)
        return 0
    if arguments.endpoint is None or arguments.output is None:
        raise UsageError("cade record needs --endpoint and --output, or --summary")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    socket = _socket(arguments)
    settings = _settings(arguments, socket)
    header = RecordingHeader(socket, arguments.endpoint, arguments.format, time.time())
    with (
        RecordingWriter(arguments.output, header) as writer,
        contextlib.closing(_messages(arguments, settings, stop)) as messages,
    ):
        _record(writer, messages, arguments.messages)
    sys.stdout.write(
        f"{arguments.output}: {writer.messages} messages, {writer.size_bytes / 1e6:.1f} MB\n"
    )
    return 0


def _socket(arguments: argparse.Namespace) -> Receiver:
    if arguments.socket is not None:
        chosen: Receiver = arguments.socket
        return chosen
    if arguments.format not in FORMATS:
        return "pull"
    from simulator.replay import SENDERS
    from simulator.stream_traits import STREAM_TRAITS

    sender = STREAM_TRAITS[arguments.format].socket
    return next(receiver for receiver, kind in SENDERS.items() if kind == sender)


def _record(writer: RecordingWriter, messages: Iterator[list[Buffer]], most: int | None) -> None:
    from tqdm import tqdm

    with tqdm(total=most, unit="message", disable=None) as bar:
        for parts in messages:
            writer.write(parts)
            bar.set_postfix_str(f"{writer.size_bytes / 1e6:.1f} MB", refresh=False)
            bar.update()
            if writer.messages == most:
                break


def _messages(
    arguments: argparse.Namespace, settings: StreamSettings, stop: threading.Event
) -> Generator[list[Buffer]]:
    """What comes, until the time is over, or until `stop` is set and what had arrived is here."""
    import zmq

    from daemon.log import set_up_logging
    from daemon.settings import LogSettings
    from daemon.sources.connection import Connection

    set_up_logging(LogSettings())
    end_s = None if arguments.seconds is None else time.monotonic() + arguments.seconds
    with zmq.Context() as context:
        connection = Connection(settings, context)
        try:
            while not stop.is_set() and (end_s is None or time.monotonic() < end_s):
                connection.request()
                parts = connection.receive(_POLL_S)
                if parts is not None:
                    yield parts
                if parts is None or connection.look_due:
                    connection.restore()
            for _ in range(connection.capacity):  # bounded: the detector may go on sending
                parts = connection.receive(0.0)
                if parts is None:
                    break
                yield parts
        finally:
            connection.close()


def _settings(arguments: argparse.Namespace, socket: Receiver) -> StreamSettings:
    """Those of a source that would receive this stream; nothing is decoded by its format."""
    from pydantic import ValidationError

    from daemon.settings import StreamSettings

    some = "karabo" if socket == "req" else "array-1.0"
    largest = StreamSettings.model_fields["max_message_bytes"].default
    try:
        return StreamSettings.model_validate(
            {
                "format": some,
                "endpoint": arguments.endpoint,
                "socket": socket,
                "bind": arguments.bind,
                # As many messages wait as this holds of the largest: see `Connection.capacity`.
                "queue_bytes": 2 * _QUEUE_MESSAGES * largest,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = "".join(f"--{part}: " for part in first["loc"])
        raise UsageError(f"{name}{first['msg']}") from None
