"""A recorded stream, sent again message by message."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cade.wire.recording import Receiver, RecordedMessage
from simulator.emulator_socket import DetectorSocket
from simulator.pace import Pace
from simulator.stream_traits import SocketKind

SENDERS: Mapping[Receiver, SocketKind] = {"pull": "push", "sub": "pub", "req": "rep"}
"""What a detector has bound, by what received from it."""


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What was sent."""

    messages: int
    size_bytes: int


def replay(
    messages: Iterable[RecordedMessage], socket: DetectorSocket, rate_hz: float | None
) -> ReplaySummary:
    """Send the messages as they are; in the times between them as recorded, where no rate is given.

    Raises:
        CadeError: nobody received in time.
    """
    socket.await_subscriber()
    before, count = socket.sent_bytes, 0
    pace = Pace(rate_hz)
    last_s: float | None = None
    for message in messages:
        if rate_hz is not None:
            pace.wait()
        elif last_s is not None:  # a clock that was set back makes no pause
            time.sleep(max(0.0, message.time_s - last_s))
        last_s = message.time_s
        socket.send(message.parts)
        count += 1
    return ReplaySummary(count, socket.sent_bytes - before)
