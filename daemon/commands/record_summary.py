"""What a recorded stream holds."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from cade.errors import CadeError
from cade.wire import FORMATS, Decoder, WireError, decoder
from cade.wire.recording import RecordedMessage, RecordingReader


def print_summary(path: Path) -> None:
    """Origin, number, size and time of the messages, and what they are where the format is known.

    Raises:
        CadeError: the file cannot be read, is no recording, or is damaged; what comes before the
            damage is printed.
    """
    with RecordingReader(path) as recording:
        header = recording.header
        date = datetime.fromtimestamp(header.start_time_s, UTC)
        _print(
            f"{path}: {header.wire_format or 'unknown format'} from {header.endpoint!r:.200} by "
            f"{header.socket}, {date:%Y-%m-%d %H:%M:%S} UTC"
        )
        reader = decoder(header.wire_format) if header.wire_format in FORMATS else None
        kinds = Counter[str]()
        first_s = last_s = None
        count = size_bytes = 0
        try:
            for message in recording.messages():
                first_s, last_s = first_s or message.time_s, message.time_s
                count += 1
                size_bytes += sum(map(len, message.parts))
                kinds.update(_kinds(reader, message))
        finally:
            duration_s = 0.0 if first_s is None or last_s is None else last_s - first_s
            _print(f"{count} messages, {size_bytes / 1e6:.1f} MB, {duration_s:.1f} s")
            if kinds:
                _print(", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())))
        if recording.cut_bytes:
            _print(f"the last message was never finished ({recording.cut_bytes} bytes)")


def _kinds(reader: Decoder | None, message: RecordedMessage) -> list[str]:
    if reader is None:
        return []
    try:
        return [type(event).__name__ for event in reader.decode(message.parts)]
    except WireError:
        return ["malformed"]
    except CadeError:
        return []


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
