"""`cade emulate` in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.daemon_process import environment


@contextmanager
def emulate(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the endpoint that it says it has bound; a port that is free."""
    command = [sys.executable, "-m", "daemon", "emulate", "--endpoint", "tcp://127.0.0.1:*", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"publishing .+ on (tcp://127\.0\.0\.1:\d+)\n", line)
            assert found, line
            yield process, found[1]
        finally:
            process.kill()
