"""The notification protocol on a real socket, and the unit files before systemd's own checkers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cade.errors import CadeError
from daemon.systemd import Notifier

UNITS = Path(__file__).parents[2] / "systemd"
needs = {
    name: pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
    for name in ("systemd-analyze", "systemd-sysusers", "systemd-tmpfiles")
}


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The receiving end as systemd has it, and its NOTIFY_SOCKET."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@cade-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        receiver.settimeout(10)
        yield receiver, address


def test_messages(manager: tuple[socket.socket, str]) -> None:
    receiver, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("2 sources\nopen")
    notifier.ready()
    notifier.status("series 7: 3 frames")
    notifier.watchdog()
    notifier.extend_timeout(1.5)
    notifier.stopping("draining")
    assert [receiver.recv(4096).decode() for _ in range(6)] == [
        "READY=1\nSTATUS=2 sources open",
        "READY=1",
        "STATUS=series 7: 3 frames",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=1500000",
        "STOPPING=1\nSTATUS=draining",
    ]


def test_environment_of_the_process(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, address = manager
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    Notifier().watchdog()
    assert receiver.recv(4096) == b"WATCHDOG=1"


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier({})
    notifier.ready("x")
    notifier.status("")
    notifier.watchdog()
    notifier.stopping()
    assert notifier.watchdog_interval_s is None


def test_dead_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(CadeError, match=r"NOTIFY_SOCKET=.*gone: systemd cannot be told"):
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
    ],
)
def test_watchdog_interval(environment: dict[str, str], interval_s: float | None) -> None:
    assert Notifier(environment).watchdog_interval_s == interval_s


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )


def copied_unit(folder: Path, extra: str = "") -> Path:
    """The unit with a program that exists: systemd-analyze looks for it."""
    text = (UNITS / "cade.service").read_text(encoding="utf-8")
    assert "\nExecStart=/opt/cade/bin/cade run " in text
    unit = folder / "cade.service"
    unit.write_text(
        text.replace("/opt/cade/bin/cade", "/bin/true").replace("[Service]", f"[Service]\n{extra}")
    )
    return unit


@needs["systemd-analyze"]
def test_unit_is_valid(tmp_path: Path) -> None:
    done = verify(copied_unit(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@needs["systemd-analyze"]
def test_unknown_key_would_be_seen(tmp_path: Path) -> None:
    assert "Privat" in verify(copied_unit(tmp_path, "PrivatTmp=yes\n")).stderr


@needs["systemd-analyze"]
def test_unit_is_not_exposed(tmp_path: Path) -> None:
    unit = str(copied_unit(tmp_path))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=40", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_unit_lets_torch_work() -> None:
    text = (UNITS / "cade.service").read_text(encoding="utf-8")
    for line in ("MemoryDenyWriteExecute=yes", "ProcSubset=pid", "PrivateDevices=yes"):
        assert f"\n{line}" not in text


@needs["systemd-sysusers"]
@needs["systemd-tmpfiles"]
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to another user")
def test_user_and_folders(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    root = f"--root={tmp_path}"
    for command in (
        ["systemd-sysusers", root, str(UNITS / "cade.sysusers.conf")],
        ["systemd-tmpfiles", root, "--create", str(UNITS / "cade.tmpfiles.conf")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    user = (tmp_path / "etc/passwd").read_text().split(":")
    store = (tmp_path / "var/lib/cade/references").stat()
    assert user[0] == "cade"
    assert (store.st_uid, store.st_mode & 0o777) == (int(user[2]), 0o750)
