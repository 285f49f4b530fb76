"""What holds for every test: no thread is left behind, and no error is logged unexpectedly."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from tqdm import tqdm

JOIN_S = 5.0

# Machines that run the tests are busy: hypothesis' deadline would be a timed assertion.
hypothesis_settings.register_profile("cade", deadline=None, derandomize=True)
hypothesis_settings.load_profile("cade")
tqdm.monitor_interval = 0  # else tqdm leaves a thread behind


class ErrorRecorder(logging.Handler):
    """Keeps the messages of records at level ERROR and above."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def logged_errors() -> Iterator[list[str]]:
    """For a test that provokes errors: their messages. It fails if there are none."""
    recorder = ErrorRecorder()
    logging.getLogger().addHandler(recorder)
    yield recorder.messages
    logging.getLogger().removeHandler(recorder)
    assert recorder.messages, "this test uses logged_errors, but no error was logged"


@pytest.fixture(autouse=True)
def _no_unexpected_error(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail when something logs at level ERROR, unless the test uses `logged_errors`."""
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    recorder = ErrorRecorder()
    logging.getLogger().addHandler(recorder)
    yield
    logging.getLogger().removeHandler(recorder)
    structlog.configure(**before)
    if "logged_errors" not in request.fixturenames:
        assert not recorder.messages, f"errors were logged: {recorder.messages}"


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """Fail when a thread that the test started is still there after it."""
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and not _foreign(t)]
    for thread in left:
        thread.join(JOIN_S)
    alive = [thread.name for thread in left if thread.is_alive()]
    assert not alive, f"threads left behind: {alive}"


def _foreign(thread: threading.Thread) -> bool:
    """Whether C code made the thread, such as Channel Access: Python cannot join it."""
    return isinstance(thread, threading._DummyThread)
