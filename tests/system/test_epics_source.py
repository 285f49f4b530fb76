"""The EPICS source against a real IOC; each of the two is a process of its own."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0

Line = dict[str, Any]


def start(script: str, argument: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A Python script in its own process; every line it prints is a JSON object."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / script), argument],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # EPICS libraries talk about beacons and lost circuits
        text=True,
    )


class Client:
    """A process with the source in it; `log` keeps the log lines that have come."""

    def __init__(self, settings: dict[str, object], environment: dict[str, str]) -> None:
        self.log: list[Line] = []
        self._events: queue.Queue[Line] = queue.Queue()
        self._logs: queue.Queue[Line] = queue.Queue()
        self._answers: queue.Queue[Line] = queue.Queue()
        self.process = start("epics_client.py", json.dumps(settings), environment)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        queues = {"log": self._logs, "start": self._events, "end": self._events}
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = json.loads(text)
            queues.get(line["kind"], self._answers).put(line)

    def command(self, text: str) -> Line:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self._answers.get(timeout=PATIENCE_S)

    def put(self, name: str, value: object) -> None:
        assert self.command(f"put {name} {value}")["done"] == 1

    def expect(self, kind: str) -> Line:
        line = self._events.get(timeout=PATIENCE_S)
        assert line["kind"] == kind, line
        return line

    def expect_log(self, text: str, pv: str) -> None:
        while not self.logged(text, pv):
            self.log.append(self._logs.get(timeout=PATIENCE_S))

    def logged(self, text: str, pv: str) -> int:
        """How often."""
        return sum(text in line["event"] and line["pv"] == pv for line in self.log)

    def stop(self) -> None:
        """Stop the source: nothing is left of it, and it has logged from its own thread only."""
        assert self.command("stop")["threads"] == []
        assert self.process.wait(PATIENCE_S) == 0
        self._reader.join(PATIENCE_S)
        self.log += self._logs.queue
        assert {line["thread"] for line in self.log} <= {"source"}
        assert list(self._events.queue) == []

    def close(self) -> None:
        end(self.process)
        self._reader.join(PATIENCE_S)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(PATIENCE_S)
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


class Beamline:
    """An IOC that can be killed and started again; it starts and ends every test with Acquire 0."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.boot()

    def boot(self) -> None:
        self.ioc = start("ioc.py", "TEST", self.environment)
        assert self.ioc.stdout is not None
        self.environment = json.loads(self.ioc.stdout.readline())

    def kill(self) -> None:
        end(self.ioc)


Connect = Callable[..., Client]


@pytest.fixture(scope="module")
def beamline() -> Iterator[Beamline]:
    beamline = Beamline()
    yield beamline
    beamline.kill()


@pytest.fixture
def connect(beamline: Beamline) -> Iterator[Connect]:
    with ExitStack() as stack:

        def start_client(**settings: object) -> Client:
            values: dict[str, object] = {
                "acquire_pv": "TEST:Acquire",
                "role_pv": "TEST:Role",
                "settle_s": 0.05,
                "connect_s": PATIENCE_S,
            }
            client = Client(values | settings, beamline.environment)
            stack.callback(client.close)
            return client

        yield start_client


def test_series_and_their_roles(connect: Connect) -> None:
    client = connect()
    client.put("TEST:Role", "reference")
    client.put("TEST:Acquire", 1)
    first = client.expect("start")
    assert first["series"].startswith("epics-")
    assert first["role"] == "reference"
    client.put("TEST:Role", "sample")  # holds from the next series
    client.put("TEST:Acquire", 0)
    assert client.expect("end")["series"] == first["series"]

    client.put("TEST:Acquire", 1)
    second = client.expect("start")
    assert second["role"] == "sample"
    assert second["series"] != first["series"]
    client.put("TEST:Acquire", 0)
    client.expect("end")

    for _ in range(2):
        client.put("TEST:Role", "sampel")
        client.put("TEST:Acquire", 1)
        assert client.expect("start")["role"] is None
        client.put("TEST:Acquire", 0)
        client.expect("end")
        client.put("TEST:Role", "dark")
    client.put("TEST:Acquire", 1)
    assert client.expect("start")["role"] == "dark"

    late = connect(role_pv="TEST:RoleState")  # a series runs when it connects
    assert late.expect("start")["role"] == "sample"
    client.stop()  # an open series is left open
    assert client.logged("states no role: 'sampel'", "TEST:Role") == 1
    late.put("TEST:Acquire", 0)
    late.expect("end")
    late.put("TEST:RoleState", "flat")
    late.put("TEST:Acquire", 1)
    assert late.expect("start")["role"] == "flat"
    late.put("TEST:Acquire", 0)
    late.expect("end")
    late.stop()


def test_ioc_killed_in_mid_series(beamline: Beamline, connect: Connect) -> None:
    client = connect(role_pv="TEST:RoleNumber", connect_s=1.0)
    client.put("TEST:RoleNumber", 1)
    client.put("TEST:Acquire", 1)
    series = client.expect("start")
    assert series["role"] == "reference"
    beamline.kill()
    client.expect_log("PV disconnected", "TEST:Acquire")
    beamline.boot()  # its level is 0 again, which may mean nothing: no frame comes for connect_s
    assert client.expect("end")["series"] == series["series"]
    client.put("TEST:Acquire", 1)
    assert client.expect("start")["role"] == "sample"
    client.put("TEST:Acquire", 0)
    client.expect("end")
    client.stop()
    for pv in ("TEST:Acquire", "TEST:RoleNumber"):
        assert client.logged("PV disconnected", pv) == 1
        assert client.logged("PV connected", pv) == 2


def test_pv_that_never_connects(connect: Connect) -> None:
    """It is named once. Without its role series start all the same."""
    client = connect(role_pv="TEST:Typo", connect_s=0.5)
    client.expect_log("PV is silent", "TEST:Typo")
    client.put("TEST:Acquire", 1)
    assert client.expect("start")["role"] is None
    client.put("TEST:Acquire", 0)
    client.expect("end")
    client.stop()
    assert client.logged("PV is silent", "TEST:Typo") == 1
    assert client.logged("PV is silent", "TEST:Acquire") == 0
