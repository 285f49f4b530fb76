"""The table of a stream: what goes together, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from daemon.settings import StreamSettings

HERE, THERE = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"


def source(**more: Any) -> StreamSettings:
    return StreamSettings.model_validate({"format": "dectris-v2", "endpoint": HERE} | more)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"more_endpoints": [HERE]}, "name the same endpoint twice"),
        ({"more_endpoints": ["http://a"]}, "should match pattern"),
        ({"more_endpoints": [THERE], "format": "stins"}, "leave more_endpoints out"),
        (
            {"more_endpoints": [THERE], "format": "karabo", "socket": "req"},
            "make another .* of more_endpoints",
        ),
        ({"curve_secret_key": "a"}, "needs both curve_secret_key and curve_server_key"),
        ({"curve_server_key": "a"}, "needs both curve_secret_key and curve_server_key"),
        ({"curve_allowed_keys": ["a"]}, "curve_allowed_keys goes with bind = true"),
        ({"bind": True, "curve_secret_key": "a"}, "needs both .* and curve_allowed_keys"),
        ({"bind": True, "curve_allowed_keys": ["a"]}, "needs both .* and curve_allowed_keys"),
        (
            {"bind": True, "curve_secret_key": "a", "curve_server_key": "b"},
            "this daemon is the server",
        ),
        ({"reorder_frames": -1}, "greater than or equal to 0"),
        ({"reorder_s": 0}, "greater than 0"),
        ({"queue_bytes": 0}, "greater than 0"),
        ({"heartbeat_s": -1}, "greater than or equal to 0"),
        ({"queue_frames": 5}, "Extra inputs are not permitted"),
    ],
)
def test_what_does_not_go_together(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        source(**more)


@pytest.mark.parametrize(
    "more",
    [
        {"more_endpoints": [THERE, "ipc:///tmp/x"]},
        {"more_endpoints": [THERE], "format": "karabo", "socket": "sub"},
        {"format": "stins"},
        {"format": "karabo", "socket": "req"},
        {"curve_secret_key": "a", "curve_server_key": "b"},
        {"bind": True, "curve_secret_key": "a", "curve_allowed_keys": ["b", "c"]},
        {"reorder_frames": 0, "heartbeat_s": 0},
    ],
)
def test_what_does(more: dict[str, Any]) -> None:
    assert source(**more).endpoints[0] == HERE


@pytest.mark.parametrize(
    ("wire_format", "silence_s", "found_s"),
    [
        ("dectris-v2", None, None),
        ("dectris-v1", None, None),
        ("stins", None, None),
        ("array-1.0", None, 10.0),
        ("odin", None, 10.0),
        ("karabo", None, 10.0),
        ("dectris-v2", 3.0, 3.0),
        ("odin", 3.0, 3.0),
    ],
)
def test_the_silence_that_ends_a_series(
    wire_format: str, silence_s: float | None, found_s: float | None
) -> None:
    assert source(format=wire_format, silence_s=silence_s).end_silence_s == found_s
