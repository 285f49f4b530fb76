"""The EPICS source against a real IOC; each of the two is a process of its own."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cade.frames import Role, SeriesEnd, SeriesStart
from daemon.sources.acquisition import Acquisition
from daemon.sources.pv_value import level_of, role_of_value

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0

Line = dict[str, Any]


class Program:
    """A Python script in its own process; every line it prints is a JSON object."""

    def __init__(self, script: str, argument: str, environment: dict[str, str]) -> None:
        self.lines: queue.Queue[Line] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / script), argument],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # EPICS libraries talk about beacons and lost circuits
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self.lines.put(json.loads(line))

    def next(self) -> Line:
        return self.lines.get(timeout=PATIENCE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Client(Program):
    """The source; `seen` keeps log lines that other expectations have passed over."""

    def __init__(self, settings: dict[str, object], environment: dict[str, str]) -> None:
        super().__init__("epics_client.py", json.dumps(settings), environment)
        self.seen: list[Line] = []

    def command(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def put(self, name: str, value: object) -> None:
        self.command(f"put {name} {value}")
        assert self.expect("put")["done"] == 1

    def expect(self, *kinds: str) -> Line:
        """The next line of one of these kinds; only log lines and answers may come before it."""
        while (line := self.next())["kind"] not in kinds:
            assert line["kind"] in ("log", "put"), line
            self.seen.append(line)
        return line

    def expect_log(self, text: str, pv: str) -> Line:
        while True:
            line = self.expect("log")
            self.seen.append(line)
            if text in line["event"] and line.get("pv") == pv:
                return line

    def logged(self, text: str) -> int:
        return sum(text in line.get("event", "") for line in self.seen)

    def stop(self) -> None:
        self.command("stop")
        assert self.expect("stopped")["threads"] == []
        assert self.process.wait(PATIENCE_S) == 0
        assert {line["thread"] for line in self.seen if line["kind"] == "log"} <= {"source"}


class Beamline:
    """An IOC that can be killed and started again, and sources that look at it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.environment: dict[str, str] = {}
        self.boot()

    def boot(self) -> None:
        self.ioc = Program("ioc.py", "TEST", self.environment)
        self._stack.callback(self.ioc.kill)
        self.environment = self.ioc.next()

    def client(self, **settings: object) -> Client:
        values: dict[str, object] = {
            "acquire_pv": "TEST:Acquire",
            "role_pv": "TEST:Role",
            "settle_s": 0.05,
            "connect_s": PATIENCE_S,
        }
        client = Client(values | settings, self.environment)
        self._stack.callback(client.kill)
        return client


@pytest.fixture
def beamline() -> Iterator[Beamline]:
    with ExitStack() as stack:
        yield Beamline(stack)


def test_series_and_their_roles(beamline: Beamline) -> None:
    client = beamline.client()
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

    for _ in range(2):  # logged once, however often it is there
        client.put("TEST:Role", "sampel")
        client.put("TEST:Acquire", 1)
        assert client.expect("start")["role"] is None
        client.put("TEST:Acquire", 0)
        client.expect("end")
        client.put("TEST:Role", "dark")
    client.put("TEST:Acquire", 1)
    assert client.expect("start")["role"] == "dark"
    assert client.logged("states no role: 'sampel'") == 1

    late = beamline.client(role_pv="TEST:RoleState")  # a series runs when it connects
    assert late.expect("start")["role"] == "sample"
    late.put("TEST:Acquire", 0)
    late.expect("end")
    client.expect("end")
    late.put("TEST:RoleState", 2)
    late.put("TEST:Acquire", 1)
    assert late.expect("start")["role"] == "flat"
    late.stop()  # an open series is left open
    client.expect("start")
    client.stop()


def test_ioc_killed_in_mid_series(beamline: Beamline) -> None:
    client = beamline.client(role_pv="TEST:RoleNumber")
    client.put("TEST:RoleNumber", 1)
    client.put("TEST:Acquire", 1)
    series = client.expect("start")
    assert series["role"] == "reference"
    beamline.ioc.kill()
    client.expect_log("PV disconnected", "TEST:Acquire")
    beamline.boot()  # its level is 0 again
    assert client.expect("end")["series"] == series["series"]
    client.put("TEST:Acquire", 1)
    assert client.expect("start")["role"] == "sample"
    assert client.logged("PV disconnected") == 2  # each of the two PVs once
    client.stop()


def test_role_pv_that_never_connects(beamline: Beamline) -> None:
    """It is named, and series start without it."""
    client = beamline.client(role_pv="TEST:Typo", connect_s=0.5)
    client.expect_log("PV is silent", "TEST:Typo")
    client.put("TEST:Acquire", 1)
    assert client.expect("start")["role"] is None
    assert client.logged("PV is silent") == 1
    client.stop()


def test_no_ioc_at_all(beamline: Beamline) -> None:
    beamline.ioc.kill()
    client = beamline.client(role_pv="", connect_s=0.3)
    client.expect_log("PV is silent", "TEST:Acquire")
    client.stop()


def steps(acquisition: Acquisition, now_s: float) -> list[type]:
    return [type(event) for event in acquisition.step(now_s)]


def test_series_ends_after_settling() -> None:
    acquisition = Acquisition(settle_s=1.0, role_wait_s=0.0, now_s=0.0)
    acquisition.level(on=False, now_s=0.0)
    assert steps(acquisition, 0.0) == []
    acquisition.level(on=True, now_s=1.0)
    assert steps(acquisition, 1.0) == [SeriesStart]
    assert steps(acquisition, 1.0) == []
    acquisition.level(on=False, now_s=2.0)
    acquisition.level(on=False, now_s=2.9)  # an update without a change
    assert steps(acquisition, 2.99) == []
    assert steps(acquisition, 3.0) == [SeriesEnd]
    assert not acquisition.is_open


def test_new_series_while_the_old_one_settles() -> None:
    acquisition = Acquisition(settle_s=1.0, role_wait_s=0.0, now_s=0.0)
    acquisition.level(on=True, now_s=0.0)
    [first] = acquisition.step(0.0)
    acquisition.level(on=False, now_s=1.0)
    acquisition.level(on=True, now_s=1.1)
    end, second = acquisition.step(1.1)
    assert end == SeriesEnd(first.series_id)
    assert isinstance(second, SeriesStart)
    assert second.series_id != first.series_id
    assert steps(acquisition, 9.0) == []


@pytest.mark.parametrize(("level", "expected"), [(True, []), (False, [SeriesEnd])])
def test_connection_comes_back(level: bool, expected: list[type]) -> None:
    acquisition = Acquisition(settle_s=0.0, role_wait_s=0.0, now_s=0.0)
    acquisition.level(on=True, now_s=0.0)
    assert steps(acquisition, 0.0) == [SeriesStart]
    acquisition.level_lost()
    assert steps(acquisition, 50.0) == []
    acquisition.level(on=level, now_s=50.0)
    assert steps(acquisition, 50.0) == expected


def test_start_waits_for_the_role() -> None:
    acquisition = Acquisition(settle_s=0.0, role_wait_s=5.0, now_s=0.0)
    acquisition.level(on=True, now_s=0.0)
    assert steps(acquisition, 4.9) == []
    acquisition.role(Role.FLAT)
    [start] = acquisition.step(4.9)
    assert isinstance(start, SeriesStart)
    assert start.role is Role.FLAT
    acquisition.role_lost(10.0)
    acquisition.level(on=False, now_s=10.0)
    acquisition.level(on=True, now_s=10.0)
    assert steps(acquisition, 14.9) == [SeriesEnd]
    [start] = acquisition.step(15.0)
    assert isinstance(start, SeriesStart)
    assert start.role is None  # what the PV stated before it was lost does not hold


@pytest.mark.parametrize(
    ("value", "states", "role"),
    [
        ("reference", (), Role.REFERENCE),
        (" Dark\n", (), Role.DARK),
        ("2", (), Role.FLAT),
        (0, (), Role.SAMPLE),
        (3.0, (), Role.DARK),
        (1, ("dark", "flat"), Role.FLAT),
        (1, ("", ""), Role.REFERENCE),
        (np.frombuffer(b"flat\0xx", "u1"), (), Role.FLAT),
        ("", (), None),
    ],
)
def test_role_of_a_value(value: object, states: tuple[str, ...], role: Role | None) -> None:
    assert role_of_value(value, states) is role


@pytest.mark.parametrize(
    ("value", "states"),
    [
        ("sampel", ()),
        (4, ()),
        (-1, ("sample",)),
        (1.5, ()),
        (float("nan"), ()),
        (float("inf"), ()),
        (0, ("Off", "On")),
        (np.array([200, 300], "u2"), ()),
        ("\u00b2", ()),
    ],
)
def test_value_that_is_no_role(value: object, states: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="is not one of sample, reference, flat, dark or 0 to 3"):
        role_of_value(value, states)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (1, True),
        (0, False),
        (0.0, False),
        (5, True),
        ("1", True),
        ("Done", None),
        (float("nan"), None),
        (np.arange(3), None),
        (None, None),
    ],
)
def test_level(value: object, level: bool | None) -> None:
    assert level_of(value) is level
