"""The daemon's side of the IOC's process, with other programs in its place."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from daemon.accounting import Account
from daemon.intake_control import IntakeControl
from daemon.last_error import Remark
from daemon.pv_server import server as module
from daemon.pv_server.child import Child
from daemon.pv_server.commands import Commands
from daemon.pv_server.lines import Message
from daemon.pv_server.server import PvServer
from daemon.settings import EpicsServerSettings
from daemon.state import State
from daemon.status import Results, StatusReader

PATIENCE_S = 30.0
SETTINGS = EpicsServerSettings(prefix="T", commands=True)
ECHO = "import os\nwhile line := os.read(0, 99999): os.write(0, line)"
NONSENSE = "import os\nos.write(0, b'[1]\\n')\nos.read(0, 1)"
DEAF = "import time\ntime.sleep(60)"
GONE = "print('no room'); raise SystemExit(3)"

Program = Callable[[str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    def put(code: str) -> None:
        script = tmp_path / "program"
        script.write_text(f"#!{interpreter}\n{code}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))

    interpreter = sys.executable
    return put


def until(child: Child, done: Callable[[list[Message]], bool]) -> list[Message]:
    messages: list[Message] = []
    end_s = time.monotonic() + PATIENCE_S
    while not done(messages):
        assert time.monotonic() < end_s
        messages += child.receive(0.1)
    return messages


def test_messages_go_both_ways(program: Program) -> None:
    program(ECHO)
    child = Child(SETTINGS)
    child.send({"a": 1})
    child.send({"b": "é"})
    assert until(child, lambda messages: len(messages) == 2) == [{"a": 1}, {"b": "é"}]
    assert child.ended == ""
    child.close(PATIENCE_S)
    assert child.last_words == "exit code 0"


@pytest.mark.parametrize(
    ("code", "ended", "last_words"),
    [
        (NONSENSE, "it sent nonsense", "[1]"),
        (GONE, "it has gone", "exit code 3, no room"),
    ],
)
def test_who_is_out_of_order_has_ended(
    code: str, ended: str, last_words: str, program: Program
) -> None:
    program(code)
    child = Child(SETTINGS)
    until(child, lambda _: bool(child.ended))
    assert child.ended.startswith(ended)
    child.send({"to": "nobody"})
    assert child.ended.startswith(ended), "the first reason counts"
    child.close(PATIENCE_S)
    assert last_words in child.last_words


def test_who_does_not_read_never_makes_the_daemon_wait(program: Program) -> None:
    program(DEAF)
    child = Child(SETTINGS)
    while not child.ended:
        child.send({"status": "x" * 10_000})
    assert child.ended == "it does not read"
    child.close()
    assert "signal SIGKILL" in child.last_words


def pv_server() -> PvServer:
    account, control = Account(), IntakeControl()
    status = StatusReader(account, control, 1.0, lambda: State.IDLE, Results, Remark)
    return PvServer(SETTINGS, status, Commands(control, account.series, allowed=True))


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (DEAF, "it hangs"),
        ("import os\nos.write(0, b'{\"ready\": true}\\n')\n" + DEAF, "it hangs"),
        ('import os\nos.write(0, b\'{"failed": "no port"}\\n\')\nos.read(0, 1)', "no port"),
        (GONE, "it has gone"),
        (None, "it cannot be started (No such file or directory)"),
    ],
)
def test_it_is_tried_again_and_again(
    code: str | None, problem: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(module, "START_S", 1.0 if code == DEAF else PATIENCE_S)
    monkeypatch.setattr(module, "HUNG_S", 0.2)
    program(code) if code is not None else monkeypatch.setattr(sys, "executable", "/no/python")
    server = pv_server()
    with structlog.testing.capture_logs() as logs:
        thread = threading.Thread(target=server.run)
        thread.start()
        end_s = time.monotonic() + PATIENCE_S
        while len(warnings := [line for line in logs if line["log_level"] == "warning"]) < 2:
            assert time.monotonic() < end_s, logs
            time.sleep(0.01)
        server.request_stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert warnings[0]["problem"].startswith(problem)
    assert "next try in 0.01 s" in warnings[0]["event"]
    assert "next try in 0.02 s" in warnings[1]["event"]


COMMANDER = """
import json, os, time
os.write(0, b'{"ready": true}\\n')
for late in (1, 0):
    wish = {"command": "TakeReference", "value": 7 - late, "id": 1 - late,
            "expires_s": time.monotonic() + (-1 if late else 1000)}
    os.write(0, json.dumps(wish).encode() + b"\\n")
while line := os.read(0, 99999):
    print(line.decode())
"""


def test_command_that_is_late_is_left_alone(program: Program) -> None:
    program(COMMANDER)
    account, control = Account(), IntakeControl()
    status = StatusReader(account, control, 1.0, lambda: State.IDLE, Results, Remark)
    server = PvServer(SETTINGS, status, Commands(control, account.series, allowed=True))
    with structlog.testing.capture_logs() as logs:
        thread = threading.Thread(target=server.run)
        thread.start()
        end_s = time.monotonic() + PATIENCE_S
        while not any(line["event"] == "PV command" for line in logs):
            assert time.monotonic() < end_s
            time.sleep(0.01)
        server.request_stop()
        thread.join(PATIENCE_S)
    assert [line["value"] for line in logs if line["event"] == "PV command"] == [7]
    assert control.references.left == 7
