"""The beamline of `cade demo`: detector and daemon, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import tomli_w
from tqdm import tqdm

from cade.errors import CadeError
from cade.frames import Role
from daemon.configuration import parse_toml, shipped
from simulator.emulator_log import Expected, SeriesLog, total

FAULTS = {"truncate": 2, "corrupt": 2, "wrong-shape": 1, "stray": 1}
"""What the detector does wrong; all but the stray one cost an image."""
START_S = 120.0
SILENCE_S = 120.0
"""Longest time without a new row, once the detector has sent everything, before giving up."""
STOP_S = 600.0


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What went in, what came out.

    `rows` and `references` are the good ones that the detector has sent, `expected` is what its log
    makes of all of it, `totals` are the daemon's own counts at its end.
    """

    result: Path
    rows: int
    references: int
    expected: Expected
    totals: dict[str, object]
    seconds: float


class DemoBeamline:
    """Starts detector and daemon, waits for every frame, stops both."""

    def __init__(
        self, folder: Path, shape: tuple[int, int], frames: int, *, tracker: str, weights: str
    ) -> None:
        self._folder, self._shape, self._frames = folder, shape, frames
        self._tracker, self._weights = tracker, weights
        self._log, self._sent_log = folder / "daemon.log", folder / "detector.jsonl"

    def run(self) -> DemoOutcome:
        """The whole scan.

        Raises:
            CadeError: a process failed or fell silent; the message names its log.
        """
        with contextlib.ExitStack() as stack:
            sys.stdout.write("detector and daemon are starting; the scan is simulated first\n")
            detector, endpoint = self._start_detector(stack)
            daemon = self._start_daemon(stack, endpoint)
            began = time.monotonic()
            result = self._follow(daemon, detector)
            seconds = time.monotonic() - began
            self._stop(daemon)
        sent = self._sent()
        return DemoOutcome(
            result=result,
            rows=_good(sent, Role.SAMPLE),
            references=_good(sent, Role.REFERENCE),
            expected=total(sent),
            totals=self._totals(),
            seconds=seconds,
        )

    def tidy(self) -> None:
        """Remove what only helps to find a fault."""
        shutil.rmtree(self._folder / "references", ignore_errors=True)
        for name in ("daemon.log", "detector.log", "detector.jsonl", "demo.toml"):
            (self._folder / name).unlink(missing_ok=True)

    def _start_detector(self, stack: contextlib.ExitStack) -> tuple[subprocess.Popen[str], str]:
        words = ["emulate", "--format", "dectris-v2", "--endpoint", "tcp://127.0.0.1:*"]
        words += ["--frames", str(self._frames), "--shape", *map(str, self._shape), "--bslz4"]
        words += ["--energy-kev", "30", "--pixel-um", "12", "--timeout", str(round(STOP_S))]
        self._sent_log.unlink(missing_ok=True)  # of an earlier demo in this folder
        words += ["--log", str(self._sent_log)]
        for kind, count in FAULTS.items():
            words += [f"--{kind}", str(count)]
        process = self._popen(stack, words, "detector.log", subprocess.PIPE)
        line = _first_line(process, START_S)
        found = re.search(r"tcp://\S+", line)
        if not found:
            raise CadeError(f"the detector did not start; see {self._folder / 'detector.log'}")
        return process, found.group()

    def _start_daemon(self, stack: contextlib.ExitStack, endpoint: str) -> subprocess.Popen[str]:
        tree = parse_toml(shipped("demo.toml"), "demo.toml")
        tree["sources"][0]["endpoint"] = endpoint
        tree["tracker"] = {"name": self._tracker, "weights": self._weights}
        tree["output"] = {"root": str(self._folder), "path": "{root}/demo_{series:02d}.h5"}
        tree["references"] = {"path": str(self._folder / "references")}
        configuration = self._folder / "demo.toml"
        configuration.write_text(tomli_w.dumps(tree))
        return self._popen(stack, ["run", "--config", str(configuration)], "daemon.log", None)

    def _popen(
        self, stack: contextlib.ExitStack, words: list[str], log: str, output: int | None
    ) -> subprocess.Popen[str]:
        errors = stack.enter_context((self._folder / log).open("w"))
        process = subprocess.Popen(  # noqa: S603 - this very interpreter and package
            [sys.executable, "-m", "daemon", *words],
            stdout=output or errors,
            stderr=errors,
            text=True,
            # Two programs of several threads on a few cores: waiting threads must not spin.
            env=os.environ | {"OMP_WAIT_POLICY": "passive"},
        )
        stack.callback(_end, process)
        return process

    def _follow(self, daemon: subprocess.Popen[str], detector: subprocess.Popen[str]) -> Path:
        """Wait until every sample frame has its row, read from the growing file."""
        changed = time.monotonic()
        rows = 0
        with tqdm(total=self._frames, unit="frame", desc="daemon", file=sys.stdout) as bar:
            while detector.poll() is None or rows < _good(self._sent(), Role.SAMPLE):
                self._check(daemon, detector)
                found = max(_rows(self._folder), default=(0, Path()))
                if found[0] > rows or detector.poll() is None:
                    bar.update(found[0] - rows)
                    rows, changed = found[0], time.monotonic()
                elif time.monotonic() - changed > SILENCE_S:
                    break  # the verdict will say what is missing
                time.sleep(0.3)
        files = sorted(self._folder.glob("demo_*.h5"))
        if not files:
            raise CadeError(f"the daemon wrote no file; see {self._log}")
        return files[-1]

    def _check(self, daemon: subprocess.Popen[str], detector: subprocess.Popen[str]) -> None:
        if daemon.poll() is not None:
            raise CadeError(f"the daemon ended with exit code {daemon.returncode}; see {self._log}")
        if detector.poll():
            raise CadeError(f"the detector failed; see {self._folder / 'detector.log'}")

    def _stop(self, daemon: subprocess.Popen[str]) -> None:
        daemon.send_signal(signal.SIGTERM)
        if daemon.wait(STOP_S) != 0:
            raise CadeError(f"the daemon ended with exit code {daemon.returncode}; see {self._log}")

    def _sent(self) -> list[SeriesLog]:
        """The detector's own log, which is whole when it has ended."""
        lines = self._sent_log.read_text(encoding="utf-8").splitlines()
        return [SeriesLog.from_json(line) for line in lines]

    def _totals(self) -> dict[str, object]:
        """The daemon's counts, from the last line of its log."""
        for line in reversed(self._log.read_text().splitlines()):
            if '"message": "stopped"' in line:
                totals: dict[str, object] = json.loads(line)
                return totals
        raise CadeError(f"the daemon did not say what it has done; see {self._log}")


def _good(sent: list[SeriesLog], role: Role) -> int:
    return sum(len(series.sent) for series in sent if series.role is role)


def _first_line(process: subprocess.Popen[str], timeout_s: float) -> str:
    stream = process.stdout
    if stream is None or not select.select([stream], [], [], timeout_s)[0]:
        return ""
    return stream.readline()


def _rows(folder: Path) -> Iterator[tuple[int, Path]]:
    """Complete rows of each result file, which the daemon is still writing."""
    for path in folder.glob("demo_*.h5"):
        with contextlib.suppress(OSError, KeyError), h5py.File(path, "r", swmr=True) as file:
            yield len(file["entry/frames/image_id"]), path


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
