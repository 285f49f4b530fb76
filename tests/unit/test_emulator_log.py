"""What a receiver should count, by what each format can tell."""

from __future__ import annotations

import pytest

from cade.frames import Reason, Role
from simulator.emulator_log import Expected, SeriesLog, total


def a_log(wire_format: str) -> SeriesLog:
    """Of 10 images 9 is dropped, 8 cut, 3 dropped, 4 repeated, 5 of another shape."""
    log = SeriesLog(wire_format, "a-1", Role.SAMPLE, 10, sent=[0, 1, 2, 4, 6, 7])
    log.dropped += [3, 9]
    log.duplicated.append(4)
    log.reject(4, Reason.REPEATED)
    log.wrong_shape.append(5)
    log.reject(5, Reason.WRONG_SHAPE)
    log.truncated.append(8)
    log.reject_broken(8, "truncate")
    return log


@pytest.mark.parametrize(
    ("wire_format", "missing", "cut_id"),
    [
        ("dectris-v2", 3, -1),  # 3, 9, and 8, which was cut beyond recognition
        ("dectris-v1", 2, 8),
        ("stins", 2, 8),
        ("array-1.0", 1, -1),  # announces nothing: behind 7 there might be none
        ("odin", 0, -1),  # leaves images out
        ("karabo", 0, -1),
    ],
)
def test_missing(wire_format: str, missing: int, cut_id: int) -> None:
    log = a_log(wire_format)
    rejected = {Reason.REPEATED: 1, Reason.WRONG_SHAPE: 1, Reason.MALFORMED: 1}
    assert log.expected() == Expected(9, 6, rejected, missing)
    assert log.rejections[-1] == (cut_id, Reason.MALFORMED)


def test_what_is_outside_fills_no_place() -> None:
    log = SeriesLog("dectris-v2", "a-1", None, 3, sent=[0, 1])
    log.reject(2, Reason.NO_SERIES)
    assert log.expected() == Expected(3, 2, {Reason.NO_SERIES: 1}, 1)


def test_total() -> None:
    logs = [a_log("dectris-v2"), SeriesLog("dectris-v2", "a-2", None, 3, sent=[0, 1, 2])]
    found = total(logs)
    assert (found.received, found.good, found.missing) == (12, 9, 3)
    assert found.rejected == a_log("dectris-v2").expected().rejected
    assert total([]) == Expected(0, 0, {}, 0)


def test_json_and_back() -> None:
    log = a_log("stins")
    log.corrupted.append((7, "payload"))
    line = log.to_json()
    assert "\n" not in line
    assert '"expected": {"received": 9, "good": 6, ' in line
    assert SeriesLog.from_json(line) == log
