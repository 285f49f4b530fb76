"""A real IOC, and a client that writes its PVs, each a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from tests.daemon_process import PATIENCE_S, ROOT, environment

PUT = """
import json, sys, epics
for line in sys.stdin:
    name, value = json.loads(line)
    print(epics.caput(name, value, wait=True, timeout=60), flush=True)
"""


class Controls:
    """The control system of a beamline; its PVs begin with TEST.

    Args:
        boot: start the IOC now, or when `boot` is called; `environment` holds from the beginning.
    """

    def __init__(self, *, boot: bool = True) -> None:
        self.environment: dict[str, str] = {}
        self._ioc: subprocess.Popen[str] | None = None
        self.boot()
        if not boot:
            self.kill()
        self._client = _start(["-c", PUT], self.environment)

    def boot(self, *words: str) -> None:
        """Start the IOC, in the place of the one before."""
        self._ioc = _start([str(ROOT / "tests/ioc.py"), "TEST", *words], self.environment)
        assert self._ioc.stdout is not None
        self.environment = json.loads(self._ioc.stdout.readline())

    def kill(self) -> None:
        """It dies, and nobody is told."""
        if self._ioc is not None:
            _end(self._ioc)
        self._ioc = None

    def put(self, name: str, value: float | str | Sequence[float]) -> None:
        """Write a PV, and wait until it is written."""
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps([f"TEST:{name}", value]) + "\n")
        self._client.stdin.flush()
        assert self._client.stdout.readline() == "1\n", name

    def close(self) -> None:
        """End both."""
        _end(self._client)
        self.kill()


def _start(words: list[str], more: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        env=environment(**more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # EPICS libraries talk about beacons and lost circuits
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=PATIENCE_S)
