"""The IOC of the daemon's PVs ends, hangs, or cannot begin: frames do not notice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ca_client import CaClient
from tests.daemon_process import (
    PATIENCE_S,
    ROOT,
    TICK_S,
    Daemon,
    Line,
    cade,
    check_account,
    configuration,
    environment,
)
from tests.ioc import loopback
from tests.speckle import counts, moved, speckle
from tests.tiff_folder import put_files

REFERENCES = [counts(speckle() + n) for n in range(2)]
SAMPLES = [counts(moved(speckle(), 0.1 * n, -0.1)) for n in range(2)]
PREFIX = "BL:CADE"
ERROR = """
import logging, daemon.pv_server.commands as commands
def fail(self, value):
    logging.getLogger("x").error("disk full")
    return commands._answer(accepted=True, text="")
commands.Commands._wait = fail
"""
FAST = "import daemon.pv_server.server as s; s.FIRST_DELAY_S = 0.1; s.HUNG_S = 3.0"


def free_port() -> dict[str, str]:
    return {k: v for k, v in loopback().items() if not k.startswith("EPICS_CAS")}


def config(tmp_path: Path, port: str) -> Path:
    watched = tmp_path / "frames"
    watched.mkdir()
    source = {"kind": "folder", "path": str(watched), "silence_s": 1000.0}
    server = {"prefix": PREFIX, "port": int(port), "commands": True}
    return configuration(tmp_path, [source], epics_server=server)


@contextmanager
def running(tmp_path: Path, fault: str = "") -> Iterator[tuple[Daemon, CaClient, Line]]:
    """The daemon, a client, and what the daemon logged about its IOC."""
    ca = free_port()
    path = config(tmp_path, ca["EPICS_CA_SERVER_PORT"])
    with Daemon(path, fault, **ca) as daemon, CaClient(PREFIX, **ca) as client:
        yield daemon, client, daemon.wait_for("PVs served")


def take_a_scan(tmp_path: Path, daemon: Daemon) -> None:
    put_files(tmp_path / "frames/ref", REFERENCES)
    daemon.wait_for("series started", series="ref")
    put_files(tmp_path / "frames/scan", SAMPLES)
    daemon.wait_for("file opened", series="scan")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(pid: int) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while is_running(pid):
        assert time.monotonic() < end_s, "it goes on without the daemon"
        time.sleep(TICK_S)


def test_ioc_that_is_killed_comes_back(tmp_path: Path) -> None:
    with running(tmp_path, FAST + ERROR) as (daemon, client, served):
        assert client.get("State") == "idle"
        os.kill(served["process"], signal.SIGKILL)
        take_a_scan(tmp_path, daemon)
        warning = daemon.wait_for("the PV server has ended, its PVs are gone; next try in 0.1 s")
        assert "signal SIGKILL" in warning["problem"]
        again = daemon.wait_for("PVs served", count=2)
        assert again["process"] != served["process"]
        client.wait_until("Frames:Written", lambda value: value == len(SAMPLES))
        assert client.read("LastError")["severity"] == 0
        assert client.put("WaitSeries", 1) == ""
        client.wait_until("LastError", lambda text: text == "disk full")
        assert client.read("LastError")["severity"] == 2, "MAJOR"
        check_account(daemon.stop(), written=len(SAMPLES), kept=len(REFERENCES))
        assert not is_running(again["process"])


def test_ioc_that_hangs_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path, FAST) as (daemon, client, served):
        os.kill(served["process"], signal.SIGSTOP)
        take_a_scan(tmp_path, daemon)
        daemon.wait_for("PVs served", count=2)
        warning = next(line for line in daemon.log if "PV server has ended" in line["message"])
        assert "it hangs" in warning["problem"]
        assert not is_running(served["process"])
        client.wait_until("Frames:Written", lambda value: value == len(SAMPLES))
        check_account(daemon.stop(), written=len(SAMPLES), kept=len(REFERENCES))


def test_daemon_that_hangs_or_is_killed(tmp_path: Path) -> None:
    with running(tmp_path) as (daemon, client, served):
        take_a_scan(tmp_path, daemon)
        client.wait_until("Frames:Written", lambda value: value == len(SAMPLES))
        daemon.send(signal.SIGSTOP)
        late = client.begin("put", "EndSeries", value=1)
        client.wait_until("State", lambda value: value == "silent")
        for name in ("State", "Frames:Written", "LastFile"):
            assert client.read(name)["severity"] == 3, "INVALID"
        assert client.answer(late)["problem"] == ""
        assert client.get("CommandResult") == "refused"
        assert client.get("CommandStatus") == "EndSeries 1: the daemon does not answer"
        daemon.send(signal.SIGCONT)
        client.wait_until("State", lambda value: value == "acquiring")
        assert client.read("Frames:Written")["severity"] == 0
        assert client.put("WaitSeries", 2) == ""  # what came in between has been read by now
        assert not daemon.logged("PV command"), "nothing happens after the client has been told"
        waiting = client.begin("put", "WaitSeries", value=1)
        assert client.get("WaitSeries") == "Go"
        daemon.send(signal.SIGKILL)
        daemon.wait()
        wait_for_end(served["process"])
        assert "ended with status" in client.answer(waiting)["problem"], "it was not written"


def test_port_of_another_ioc(tmp_path: Path) -> None:
    """Two IOCs on one port of the loopback interface would hide each other."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "tests/ioc.py"), "OTHER"],
        env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        ca = json.loads(other.stdout.readline())
        ca = {k: v for k, v in ca.items() if not k.startswith("EPICS_CAS")}
        port = ca["EPICS_CA_SERVER_PORT"]
        with Daemon(config(tmp_path, port), FAST, **ca) as daemon:
            message = "the PV server has ended, its PVs are gone; next try in 0.1 s"
            problem = daemon.wait_for(message)["problem"]
            assert f"port {port} of 127.0.0.1 is taken by another IOC" in problem
            assert "set epics_server.port" in problem
            take_a_scan(tmp_path, daemon)
            other.kill()
            daemon.wait_for("PVs served")
            with CaClient(PREFIX, **ca) as client:
                client.wait_until("Frames:Written", lambda value: value == len(SAMPLES))
            check_account(daemon.stop(), written=len(SAMPLES), kept=len(REFERENCES))


def test_without_softioc_nothing_begins(tmp_path: Path) -> None:
    path = config(tmp_path, "6000")
    with Daemon(path, "import sys; sys.modules['softioc'] = None") as daemon:
        assert daemon.wait() == 2
    [line] = daemon.complaints
    assert "epics_server.prefix: serving PVs needs softioc" in line
    assert "epics-server" in line
    assert daemon.log == []


def test_prefix_that_cannot_be_one(tmp_path: Path) -> None:
    path = config(tmp_path, "6000")
    done = cade("run", "--config", str(path), CADE_EPICS_SERVER__PREFIX="BL 01")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "epics_server.prefix: 'BL 01' cannot begin the name of a PV" in line
