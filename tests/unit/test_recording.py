"""The file of a recorded stream: written whole, read with care."""

from __future__ import annotations

import json
import re
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cade.errors import CadeError
from cade.wire.recording import (
    MAGIC,
    RecordedMessage,
    RecordingHeader,
    RecordingReader,
    RecordingWriter,
)
from tests.daemon_process import ROOT

HEADER = RecordingHeader("pull", "tcp://127.0.0.1:31001", "dectris-v2", 1e9)
MESSAGES = [[b"start"], [b"", b"\x00" * 5000], [b"a", b"bb", b"ccc"]]


def record(path: Path) -> Path:
    with RecordingWriter(path, HEADER) as writer:
        for parts in MESSAGES:
            writer.write(parts)
        assert (writer.messages, writer.size_bytes) == (len(MESSAGES), path.stat().st_size)
    return path


def read(path: Path) -> tuple[list[RecordedMessage], int]:
    with RecordingReader(path) as recording:
        return list(recording.messages()), recording.cut_bytes


def test_round_trip(tmp_path: Path) -> None:
    path = record(tmp_path / "a.cade")
    with RecordingReader(path) as recording:
        assert recording.header == HEADER
        found = list(recording.messages())
    assert [list(message.parts) for message in found] == MESSAGES
    times_s = [message.time_s for message in found]
    assert times_s == sorted(times_s)
    assert times_s[0] > 1.7e9
    assert recording.cut_bytes == 0


def test_layout_is_the_documented_one(tmp_path: Path) -> None:
    data = record(tmp_path / "a.cade").read_bytes()
    (size,) = struct.unpack_from("<I", data, 8)
    assert json.loads(data[12 : 12 + size])["wire_format"] == "dectris-v2"
    mark, _, parts, length = struct.unpack_from("<4sdIQ", data, 12 + size)
    assert (mark, parts, length) == (b"MSG1", 1, 5)
    record_end = 12 + size + 24 + 5
    assert struct.unpack_from("<I", data, record_end)[0] == zlib.crc32(data[12 + size : record_end])


def test_cut_anywhere_keeps_what_is_whole(tmp_path: Path) -> None:
    data = record(tmp_path / "a.cade").read_bytes()
    ends = [*(found.start() for found in re.finditer(b"MSG1", data)), len(data)]
    cut = tmp_path / "cut.cade"
    for length in [*range(ends[0], ends[1] + 50), *range(ends[2] - 50, len(data))]:
        cut.write_bytes(data[:length])
        whole = sum(end <= length for end in ends[1:])
        found, left = read(cut)
        assert [list(message.parts) for message in found] == MESSAGES[:whole]
        assert left == length - max(end for end in ends if end <= length)


def test_damage_is_named_and_what_is_before_it_delivered(tmp_path: Path) -> None:
    data = bytearray(record(tmp_path / "a.cade").read_bytes())
    data[-6] ^= 1  # in the last part of the third message
    path = tmp_path / "damaged.cade"
    path.write_bytes(data)
    with RecordingReader(path) as recording:
        messages = recording.messages()
        assert [list(next(messages).parts) for _ in range(2)] == MESSAGES[:2]
        with pytest.raises(CadeError, match="message 3 is damaged; those before it are whole"):
            next(messages)


@pytest.mark.parametrize(
    "record",
    [
        struct.pack("<4sdI", b"MSG2", 1.0, 1),
        struct.pack("<4sdI", b"MSG1", 1.0, 0),
        struct.pack("<4sdI", b"MSG1", 1.0, 1 << 31),
        struct.pack("<4sdIQI", b"MSG1", float("inf"), 1, 0, 0),
        struct.pack("<4sdIQI", b"MSG1", 1.0, 1, 0, 0),
    ],
)
def test_hostile_records(tmp_path: Path, record: bytes) -> None:
    path = tmp_path / "a.cade"
    with RecordingWriter(path, HEADER):
        pass
    path.write_bytes(path.read_bytes() + record)
    with pytest.raises(CadeError, match="message 1 is damaged"):
        read(path)


def test_absurd_lengths_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.cade"
    with RecordingWriter(path, HEADER):
        pass
    absurd = struct.pack("<4sdIQQ", b"MSG1", 1.0, 2, 1 << 63, 1 << 63)
    path.write_bytes(path.read_bytes() + absurd)
    assert read(path) == ([], len(absurd))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is no recording"),
        (b"\x89HDF\r\n\x1a\n", "is no recording"),
        (MAGIC, "header of the recording is damaged"),
        (MAGIC + struct.pack("<I", 1 << 31), "a header of 2147483648 bytes"),
        (MAGIC + struct.pack("<I", 2) + b"[]", "no JSON object"),
        (MAGIC + struct.pack("<I", 2) + b"{}", "socket is missing"),
        (MAGIC + struct.pack("<I", 2) + b"{\xff", "is damaged"),
    ],
)
def test_no_recording(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "a.cade"
    path.write_bytes(content)
    with pytest.raises(CadeError, match=complaint):
        RecordingReader(path)


@pytest.mark.parametrize("change", [{"socket": "pair"}, {"start_time_s": 1e300}, {"endpoint": 5}])
def test_header_with_what_cannot_be(tmp_path: Path, change: dict[str, object]) -> None:
    content = {"socket": "pull", "endpoint": "", "wire_format": "", "start_time_s": 1.0} | change
    data = json.dumps(content).encode()
    path = tmp_path / "a.cade"
    path.write_bytes(MAGIC + struct.pack("<I", len(data)) + data)
    with pytest.raises(CadeError, match=f"{next(iter(change))} is"):
        RecordingReader(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CadeError, match=r"gone\.cade: does not exist"):
        RecordingReader(tmp_path / "gone.cade")
    with pytest.raises(CadeError, match="cannot be written"):
        RecordingWriter(tmp_path / "no/folder.cade", HEADER)


def test_never_overwritten(tmp_path: Path) -> None:
    path = record(tmp_path / "a.cade")
    before = path.read_bytes()
    with pytest.raises(CadeError, match="exists and is never overwritten"):
        RecordingWriter(path, HEADER)
    assert path.read_bytes() == before


def test_a_failure_before_the_first_message_leaves_no_file(tmp_path: Path) -> None:
    def fail_after(path: Path, messages: int) -> None:
        with RecordingWriter(path, HEADER) as writer:
            for _ in range(messages):
                writer.write([b"a"])
            raise CadeError("no detector")

    for messages in (0, 1):
        path = tmp_path / f"{messages}.cade"
        with pytest.raises(CadeError, match="no detector"):
            fail_after(path, messages)
        assert path.exists() == bool(messages)


FULL = """
import resource, signal, sys
from pathlib import Path
from cade.errors import CadeError
from cade.wire.recording import RecordingHeader, RecordingWriter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
with RecordingWriter(Path(sys.argv[1]), RecordingHeader("pull", "", "", 1.0)) as writer:
    try:
        for _ in range(100):
            writer.write([b"x" * 3000])
    except CadeError as error:
        print(error)
"""


def test_no_room_leaves_whole_messages(tmp_path: Path) -> None:
    """A limit on the file's size, which the kernel enforces in the middle of a message."""
    assert resource.RLIMIT_FSIZE
    path = tmp_path / "a.cade"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "File too large" in done.stdout
    assert "the 3 messages before are kept" in done.stdout
    found, left = read(path)
    assert (len(found), left) == (3, 0)


@given(st.binary(max_size=60), st.integers(0, 400))
def test_arbitrary_bytes_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, position: int
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    data = bytearray(record(folder / "a.cade").read_bytes())
    data[position : position + len(noise)] = noise
    path = folder / "b.cade"
    path.write_bytes(data)
    try:
        found, _ = read(path)
    except CadeError:
        return
    assert len(found) <= len(MESSAGES)
