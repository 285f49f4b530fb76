"""Log lines of ours, of libraries and of `warnings`, as JSON or text."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from daemon.log import HANDLER, set_up_logging
from daemon.settings import LogSettings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    level, configuration = root.level, structlog.get_config()
    yield
    logging.captureWarnings(capture=False)
    structlog.configure(**configuration)
    root.setLevel(level)
    for handler in [h for h in root.handlers if h.get_name() == HANDLER]:
        root.removeHandler(handler)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_ours_are_json_with_utc_time() -> None:
    stream = io.StringIO()
    set_up_logging(LogSettings(), stream)
    structlog.get_logger("daemon.recording.writer").info("file opened", path="a.h5", frames=3)
    [line] = lines(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert line == {
        "message": "file opened",
        "level": "info",
        "logger": "daemon.recording.writer",
        "path": "a.h5",
        "frames": 3,
    }


def test_libraries_and_warnings_appear() -> None:
    stream = io.StringIO()
    set_up_logging(LogSettings(), stream)
    logging.getLogger("library").warning("page %d is %s", 2, "odd", extra={"file": "a.tif"})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old spelling", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    library, warning = lines(stream)
    assert (library["message"], library["level"]) == ("page 2 is odd", "warning")
    assert (library["logger"], library["file"]) == ("library", "a.tif")
    assert "DeprecationWarning: old spelling" in warning["message"]


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
@pytest.mark.usefixtures("logged_errors")
def test_level_filters_both_kinds(level: Any, seen: list[str]) -> None:
    stream = io.StringIO()
    set_up_logging(LogSettings(level=level), stream)
    for logger in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        for name in ("debug", "info", "warning", "error"):
            getattr(logger, name)("x")
    assert [line["level"] for line in lines(stream)] == seen * 2


@pytest.mark.usefixtures("logged_errors")
def test_exception_is_one_json_line() -> None:
    stream = io.StringIO()
    set_up_logging(LogSettings(), stream)
    try:
        raise ZeroDivisionError("here")
    except ZeroDivisionError:
        structlog.get_logger().exception("stage failed")
    [line] = lines(stream)
    assert line["exception"][0]["exc_type"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("wanted", "stream", "is_json"),
    [
        ("auto", Terminal(), False),
        ("auto", io.StringIO(), True),
        ("json", Terminal(), True),
        ("console", io.StringIO(), False),
    ],
)
def test_format_follows_the_terminal(wanted: Any, stream: io.StringIO, is_json: bool) -> None:
    set_up_logging(LogSettings(format=wanted), stream)
    structlog.get_logger().info("hello", series="7")
    text = stream.getvalue()
    assert text.startswith("{") == is_json
    assert ("\x1b[" in text) == (isinstance(stream, Terminal) and not is_json)
    assert "hello" in text


def test_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up_logging(LogSettings(), first)
    set_up_logging(LogSettings(), second)
    structlog.get_logger().info("once")
    assert not first.getvalue()
    assert len(lines(second)) == 1


def test_default_is_standard_error() -> None:
    code = (
        "import structlog\nfrom daemon.log import set_up_logging\n"
        "from daemon.settings import LogSettings\n"
        "set_up_logging(LogSettings())\nstructlog.get_logger().warning('seen')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout
    assert json.loads(done.stderr)["message"] == "seen"
