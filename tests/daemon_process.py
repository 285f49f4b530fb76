"""`cade run` in a process of its own, fed by the tests, and what it says on standard error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import hdf5plugin  # noqa: F401 - registers the bitshuffle filter
import tomli_w

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60.0
TICK_S = 0.05

Line = dict[str, Any]


def environment(**more: str) -> dict[str, str]:
    """One computing thread: the machines that run the tests are busy."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def cade(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", *words],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def configuration(folder: Path, sources: list[Line], **tables: Any) -> Path:
    """A file for a fast daemon that keeps everything in `folder`."""
    tree: Line = {
        "sources": sources,
        "tracker": {"name": "zncc", "window": 11, "device": "cpu", "threads": 1},
        "batch": {"size": 2, "wait_s": 0.05},
        "geometry": {"distance_m": 2.0},
        "references": {"path": str(folder / "references")},
        "output": {"root": str(folder / "output"), "path": "{root}/scan.h5"},
        "log": {"format": "json"},
    }
    for name, table in tables.items():
        tree[name] = {**tree.get(name, {}), **table} if isinstance(table, dict) else table
    path = folder / "cade.toml"
    path.write_text(tomli_w.dumps(tree))
    return path


COMMAND = "\nimport sys\nfrom daemon.commands import main\nsys.exit(main(sys.argv[1:]))"


class Daemon:
    """The running daemon; a context manager that kills it if a test has left it running.

    Args:
        config: its configuration.
        fault: Python code that is run first, in its process, to break something.
        more: environment variables.
    """

    def __init__(self, config: Path, fault: str = "", **more: str) -> None:
        self._lines: list[str] = []
        program = ["-c", fault + COMMAND] if fault else ["-m", "daemon"]
        self._process = subprocess.Popen(
            [sys.executable, *program, "run", "--config", str(config)],
            env=environment(**more),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self._lines.append(line.rstrip("\n"))

    @property
    def log(self) -> list[Line]:
        """The log lines so far."""
        return [json.loads(line) for line in list(self._lines) if line.startswith("{")]

    @property
    def complaints(self) -> list[str]:
        """All other lines so far, without what EPICS says of a repeater that it does not need."""
        return [line for line in list(self._lines) if not line.startswith(("{", "****"))]

    def logged(self, message: str, **values: object) -> list[Line]:
        """The lines with this message and these values."""
        wanted = {"message": message, **values}.items()
        return [
            line for line in self.log if wanted <= {k: _plain(v) for k, v in line.items()}.items()
        ]

    def wait_for(self, message: str, *, count: int = 1, **values: object) -> Line:
        """The `count`-th such line, as soon as it is there."""
        self.wait_until(lambda: len(self.logged(message, **values)) >= count, message)
        return self.logged(message, **values)[count - 1]

    def wait_until(self, condition: Callable[[], bool], what: str = "") -> None:
        """Until it holds; fails when the daemon ends before."""
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            ended = self._process.poll() is not None
            assert not ended or condition(), f"ended while waiting for {what}: {self._lines}"
            assert time.monotonic() < end_s, f"waited in vain for {what}: {self._lines}"
            time.sleep(TICK_S)

    def send(self, number: signal.Signals = signal.SIGTERM) -> None:
        """A signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit code, when it has ended by itself; all it has said is then in `log`."""
        code = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Line:
        """Stop it in order; returns its last line, with the account."""
        self.send(number)
        assert self.wait() == 0, self._lines
        assert self.complaints == [], self.complaints
        [stopped] = self.logged("stopped")
        return stopped


def _plain(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list) else value


def check_account(stopped: Line, **expected: int) -> None:
    """The counts of the last log line, and that they add up; all else was rejected."""
    counts = {name: stopped[name] for name in ("received", "written", "kept", "waiting")}
    lost = stopped["rejected"]
    assert stopped["received"] == (
        stopped["written"] + stopped["kept"] + sum(lost.values()) + stopped["waiting"]
    )
    assert {**counts, **lost} == {"written": 0, "kept": 0, "waiting": 0, **expected} | {
        "received": sum(expected.values())
    }


def rows_in(path: Path) -> int:
    """Complete rows of a file that is being written, 0 where there is none yet."""
    try:
        with h5py.File(path, "r", swmr=True) as file:
            return len(file["entry/frames/image_id"])
    except (OSError, KeyError):
        return 0


def rejected_in(path: Path) -> list[tuple[int, str]]:
    """Image id and reason of every loss in a finished file."""
    with h5py.File(path, "r") as file:
        group = file["entry/rejected"]
        reasons = [reason.decode() for reason in group["reason"][()]]
        return list(zip(group["image_id"][()].tolist(), reasons, strict=True))
