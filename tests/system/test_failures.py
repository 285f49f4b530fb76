"""Faults of the program: the process ends with 1 and one line, and keeps what it can."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cade.errors import CadeError
from cade.frames import Event, Frame
from daemon.configuration import load_settings
from daemon.service import Service
from daemon.sources.folder import FolderSource
from tests.daemon_process import Daemon, Line, check_account, configuration, rows_in
from tests.speckle import counts, speckle

COUNT = 6


@pytest.fixture
def folder(tmp_path: Path) -> Line:
    """A source: a folder with a reference and samples."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    np.save(folder / "ref.npy", counts(speckle()))
    np.save(folder / "scan.npy", np.stack([counts(speckle())] * COUNT))
    return {"kind": "folder", "path": str(folder), "quiet_s": 0.0}


def patched(place: str, body: str) -> str:
    """Code that replaces a method of `daemon`, such as `recording.recorder.Recorder.take`."""
    module, kind, method = place.rsplit(".", 2)
    return (
        f"import threading, time, daemon.{module} as module\noriginal = module.{kind}.{method}\n"
        f"def broken(self, *arguments):\n    {body}\nmodule.{kind}.{method} = broken\n"
    )


@pytest.mark.parametrize(
    ("place", "stage"),
    [
        ("processor.Processor.process", "tracking"),
        ("recording.recorder.Recorder.take", "recording"),
    ],
)
def test_a_stage_that_fails(tmp_path: Path, folder: Line, place: str, stage: str) -> None:
    fault = patched(place, "raise ZeroDivisionError('injected')")
    with Daemon(configuration(tmp_path, [folder]), fault) as daemon:
        assert daemon.wait() == 1
    assert daemon.complaints == [
        f"cade: RuntimeError: {stage} failed: ZeroDivisionError: injected; "
        "run with --debug to see where"
    ]
    [stopped] = daemon.logged("stopped")
    assert stopped["waiting"] == stopped["received"] - stopped["kept"] > 0


def test_a_stage_that_fails_later_leaves_complete_files(tmp_path: Path, folder: Line) -> None:
    body = "return original(self, *arguments) if arguments[0].samples[0].image_id < 4 else 1 / 0"
    fault = patched("processor.Processor.process", body)
    path = tmp_path / "output/scan.h5"
    config = configuration(tmp_path, [folder], batch={"size": 1, "queue_frames": 2})
    with Daemon(config, fault) as daemon:
        assert daemon.wait() == 1
    [stopped] = daemon.logged("stopped")
    assert rows_in(path) == stopped["written"] <= 4


def test_a_stage_that_hangs_does_not_keep_the_process(tmp_path: Path, folder: Line) -> None:
    """Threads that cannot be stopped end with the process, after `drain_s`."""
    fault = patched("processor.Processor.process", "threading.Event().wait()")
    fault += "import daemon.service\ndaemon.service._GRACE_S = 0.3\n"
    with Daemon(configuration(tmp_path, [folder], drain_s=0.3), fault) as daemon:
        daemon.wait_for("reference ready")
        daemon.send(signal.SIGTERM)
        assert daemon.wait() == 1
    [complaint] = daemon.complaints
    [stopped] = daemon.logged("stopped")
    assert complaint == (
        f"cade: {stopped['waiting']} frames were not finished within drain_s = 0.3 s; raise it"
    )
    assert stopped["waiting"] > 0


def test_a_source_that_fails_loses_nothing_that_has_come(
    tmp_path: Path, folder: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FolderSource.events

    def events(self: FolderSource, stop: threading.Event) -> Iterator[Event]:
        count = 0
        for event in original(self, stop):
            yield event
            count += isinstance(event, Frame)
            if count == 1 + COUNT:
                raise CadeError("the network is gone")

    monkeypatch.setattr(FolderSource, "events", events)
    service = Service(load_settings(configuration(tmp_path, [folder])))
    with pytest.raises(CadeError, match="the network is gone"):
        service.run()
    totals = service.account.totals()
    assert (totals.written, totals.kept, totals.waiting) == (COUNT, 1, 0)
    assert rows_in(tmp_path / "output/scan.h5") == COUNT


def test_systemd_that_cannot_be_told(tmp_path: Path, folder: Line) -> None:
    """It is a failure, but what has come is finished."""
    with Daemon(configuration(tmp_path, [folder]), NOTIFY_SOCKET=f"{tmp_path}/gone") as daemon:
        assert daemon.wait() == 1
    [complaint] = daemon.complaints
    assert complaint.startswith(f"cade: NOTIFY_SOCKET={tmp_path}/gone: systemd cannot be told")
    [stopped] = daemon.logged("stopped")
    check_account(stopped, written=stopped["written"], kept=stopped["kept"])


def test_the_watchdog_is_fed_by_progress_only(
    tmp_path: Path, folder: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(os.fspath(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", os.fspath(tmp_path / "notify"))
        service = Service(load_settings(configuration(tmp_path, [folder])))

        def beat() -> list[str]:
            service._beat()
            messages = []
            try:
                while True:
                    messages.append(manager.recv(4096).decode().split("=")[0])
            except BlockingIOError:
                return messages

        assert beat() == ["WATCHDOG", "STATUS"]
        assert beat() == ["WATCHDOG"], "nothing waits"
        service.account.receive()
        service.account.receive()
        assert beat() == ["STATUS"], "frames have come, none was finished"
        assert beat() == []
        service.account.keep()
        assert beat() == ["WATCHDOG", "STATUS"]
        assert beat() == []
        service.account.write(1)
        assert beat() == ["WATCHDOG", "STATUS"]
        service._context.destroy(linger=0)
