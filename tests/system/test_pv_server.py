"""The daemon's own PVs, seen by a real client of Channel Access."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from cade.frames import Reason, Role
from cade.version import __version__
from daemon.pv_server.records import RECORDS, rejected_name
from simulator.emulated_series import EmulatedSeries
from simulator.emulator import Emulator
from tests.ca_client import CaClient
from tests.daemon_process import (
    PATIENCE_S,
    Daemon,
    Line,
    check_account,
    configuration,
    environment,
    rejected_in,
)
from tests.ioc import loopback
from tests.speckle import counts, moved, speckle
from tests.tiff_folder import put_files

REFERENCES = [counts(speckle() + n) for n in range(2)]
SAMPLES = [counts(moved(speckle(), 0.1 * n, -0.1)) for n in range(4)]
PREFIX = "BL:CADE"


def free_port() -> dict[str, str]:
    """Environment of daemon and clients; where the daemon serves, only its settings say."""
    return {k: v for k, v in loopback().items() if not k.startswith("EPICS_CAS")}


def server(ca: dict[str, str], **more: object) -> Line:
    return {"prefix": PREFIX, "port": int(ca["EPICS_CA_SERVER_PORT"]), **more}


def folder_daemon(tmp_path: Path, ca: dict[str, str], **options: object) -> Daemon:
    """It watches a folder whose series never end by themselves."""
    watched = tmp_path / "frames"
    watched.mkdir()
    source = {"kind": "folder", "path": str(watched), "silence_s": 1000.0}
    config = configuration(
        tmp_path,
        [source],
        epics_server=server(ca, **options),
        output={"path": "{root}/{series}.h5"},
    )
    return Daemon(config, **ca)


def test_scan_waits_for_its_series(tmp_path: Path) -> None:
    ca = free_port()
    with folder_daemon(tmp_path, ca, commands=True) as daemon, CaClient(PREFIX, **ca) as client:
        daemon.wait_for("PVs served", prefix=PREFIX)
        assert client.put("WaitSeries", 1) == ""  # no series is open
        assert client.get("CommandStatus") == "WaitSeries 1: accepted: no series is open"
        put_files(tmp_path / "frames/ref", REFERENCES)
        client.wait_until("Frames:Kept", lambda value: value == len(REFERENCES))
        put_files(tmp_path / "frames/scan", SAMPLES)
        client.wait_until("Frames:Written", lambda value: value == len(SAMPLES))
        assert client.get("State") == "acquiring"
        waiting = client.begin("put", "WaitSeries", value=1)
        assert client.get("WaitSeries") == "Go"  # it has been taken, and is not completed
        assert not client.answered(waiting)
        assert client.put("EndSeries", 1) == ""
        assert client.answer(waiting)["problem"] == ""
        path = Path(client.get("LastFile"))
        with h5py.File(path, "r") as file:  # closed: not open for writing any more
            assert len(file["entry/frames/image_id"]) == len(SAMPLES)
        client.wait_until("WaitSeries", lambda value: value == "Done")
        client.wait_until("State", lambda value: value == "idle")
        assert client.get("Series:Open") == 0
        put_files(tmp_path / "frames/scan", [*SAMPLES[:1], np.zeros_like(SAMPLES[0])], first=9)
        client.wait_until("Rejected:Empty", lambda value: value == 1)
        client.wait_until("Frames:Written", lambda value: value == len(SAMPLES) + 1)
        assert Path(client.get("LastFile")) != path, "a later file of the folder begins a series"
        check_status(client)
        check_account(daemon.stop(), written=len(SAMPLES) + 1, kept=len(REFERENCES), empty=1)


def check_status(client: CaClient) -> None:
    """All PVs are there; those that a scan like this one moves have moved."""
    asked = {record.name: client.begin("get", record.name) for record in RECORDS}
    lines = {name: client.answer(number) for name, number in asked.items()}
    assert all(line["connected"] for line in lines.values())
    for record in RECORDS:
        assert (lines[record.name]["unit"] or "") == record.unit or record.kind == "text"
        assert lines[record.name]["severity"] == 0, record.name
    values = {name: line["value"] for name, line in lines.items()}
    assert values["Frames:Received"] == (
        values["Frames:Written"]
        + values["Frames:Kept"]
        + values["Frames:Rejected"]
        + values["Frames:Waiting"]
    )
    reasons = [values[rejected_name(reason)] for reason in Reason]
    assert values["Frames:Rejected"] == sum(reasons) == 1
    assert values["Rate:In"] > 0
    assert values["Reference:Age"] >= 0
    assert "empty" in lines["LastError"]["text"]
    assert lines["Version"]["text"] == __version__
    assert lines["Weights"]["text"] == "zncc"
    assert len(lines["Reference:Id"]["text"]) > 3
    beat = values["Heartbeat"]
    client.wait_until("Heartbeat", lambda value: value > beat)


def test_references_on_command(tmp_path: Path) -> None:
    ca = free_port()
    with folder_daemon(tmp_path, ca, commands=True) as daemon, CaClient(PREFIX, **ca) as client:
        daemon.wait_for("PVs served")
        for value in (-1, 100_001):
            assert client.put("TakeReference", value) == ""
            assert client.read("CommandResult")["text"] == "refused"
            assert client.read("CommandResult")["severity"] == 1
        assert client.put("TakeReference", len(REFERENCES)) == ""
        assert client.get("CommandResult") == "accepted"
        client.wait_until("Reference:Left", lambda value: value == len(REFERENCES))
        put_files(tmp_path / "frames/scan", [*REFERENCES, *SAMPLES])
        client.wait_until("Frames:Written", lambda value: value == len(SAMPLES))
        assert client.get("Reference:Left") == 0
        waiting = client.begin("put", "WaitSeries", value=1)
        assert client.get("WaitSeries") == "Go"
        check_account(daemon.stop(), written=len(SAMPLES), kept=len(REFERENCES))
        assert client.answer(waiting)["problem"] == "", "the end of the daemon ends its series"


def test_nothing_is_lost_by_a_pause(tmp_path: Path) -> None:
    ca = free_port()
    with Emulator("dectris-v2", "tcp://127.0.0.1:*", timeout_s=PATIENCE_S) as detector:
        source = {"kind": "stream", "format": "dectris-v2", "endpoint": detector.endpoint}
        config = configuration(tmp_path, [source], epics_server=server(ca, commands=True))
        with Daemon(config, **ca) as daemon, CaClient(PREFIX, **ca) as client:
            daemon.wait_for("PVs served")
            assert client.put("Pause", 1) == ""
            line = client.wait_until("State", lambda value: value == "paused")
            detector.publish([EmulatedSeries(Role.REFERENCE, len(REFERENCES), REFERENCES)])
            detector.publish([EmulatedSeries(Role.SAMPLE, len(SAMPLES), SAMPLES)])
            beat = client.get("Heartbeat")
            client.wait_until("Heartbeat", lambda value: value > beat + 4)
            assert (line, client.get("Frames:Received")) == ("paused", 0)
            assert client.get("Series:Open") == 0
            assert client.put("Resume", 1) == ""
            client.wait_until("Series:Written", lambda value: value == 2)
            assert client.get("Frames:Missing") == 0
            assert client.put("Pause", 1) == ""
            stopped = daemon.stop()  # which a pause does not prevent
    check_account(stopped, written=len(SAMPLES), kept=len(REFERENCES))
    assert rejected_in(tmp_path / "output/scan.h5") == []


def test_nobody_writes_what_is_not_his(tmp_path: Path) -> None:
    """By default nothing can be commanded; and never can a status or a field be written."""
    ca = free_port()
    with folder_daemon(tmp_path, ca) as daemon, CaClient(PREFIX, **ca) as client:
        daemon.wait_for("PVs served")
        denied = ["State", "Frames:Written", "State.DISP", "WaitSeries.FLNK", "WaitSeries.DESC"]
        for name in [*denied, "Pause", "Resume", "EndSeries", "TakeReference", "Pause.DISP"]:
            assert "Write access denied" in client.put(name, "1"), name
        assert client.put("WaitSeries", 1) == ""
        assert client.put("WaitSeries", 7) == ""
        assert client.get("CommandStatus") == "WaitSeries 7: refused: 7 is not 1"
        assert client.get("State") == "idle"
        daemon.stop()


def test_no_pause_while_pvs_drive(tmp_path: Path) -> None:
    ca = free_port()
    watched = tmp_path / "frames"
    watched.mkdir()
    config = configuration(
        tmp_path,
        [{"kind": "folder", "path": str(watched)}],
        epics={"acquire_pv": "NOBODY:Acquire"},
        epics_server=server(ca, commands=True),
    )
    with Daemon(config, **ca) as daemon, CaClient(PREFIX, **ca) as client:
        daemon.wait_for("PVs served")
        assert client.put("Pause", 1) == ""
        assert client.get("CommandResult") == "refused"
        assert client.get("State") == "idle"
        daemon.stop()


SCRIPT = """
import json, sys, structlog
from pathlib import Path
from daemon.configuration import load_settings
from daemon.service import Service

def stop_after(logger, level, event):
    if event["event"] == sys.argv[2]:
        service.request_stop()
    raise structlog.DropEvent

structlog.configure(processors=[stop_after])
service = Service(load_settings(Path(sys.argv[1]), {}))
assert service.run() == 0
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize(("prefix", "last"), [("", "ready"), (PREFIX, "PVs served")])
def test_softioc_stays_out_of_the_daemon(prefix: str, last: str, tmp_path: Path) -> None:
    """It would swap the library of Channel Access under pyepics' feet, and cannot be stopped."""
    ca = free_port()
    watched = tmp_path / "frames"
    watched.mkdir()
    source = {"kind": "folder", "path": str(watched)}
    config = configuration(tmp_path, [source], epics_server={**server(ca), "prefix": prefix})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(config), last],
        env=environment(**ca), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    modules = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "daemon" in modules
    assert not {"softioc", "epicscorelibs", "epicsdbbuilder", "cothread"} & modules
