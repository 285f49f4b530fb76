"""Every wire format: `cade emulate` → the running daemon → a file, all at the same time."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest

from cade.wire import FORMATS
from tests.daemon_process import (
    Daemon,
    Line,
    cade,
    check_account,
    configuration,
    environment,
    rejected_in,
    rows_in,
)
from tests.speckle import counts, moved, speckle

pytestmark = pytest.mark.timeout(900)  # eight processes start at the same time
START_S = 300.0

SHIFTS = [(0.1 * n, 0.3 - 0.1 * n) for n in range(5)]
REFERENCES = np.stack([counts(speckle() + n) for n in range(3)])
SAMPLES = np.stack([counts(moved(speckle(), *shift)) for shift in SHIFTS])
FIELDS = (
    "displacement/x",
    "displacement/y",
    "refraction/x",
    "phase/phase",
    "transmission/transmission",
)
RECEIVERS = {"array-1.0": "sub", "odin": "sub", "karabo": "req"}


def start_emulator(name: str, folder: Path) -> tuple[subprocess.Popen[str], str]:
    """The command in its own process, and the endpoint that it says it has bound."""
    words = ["--format", name, "--endpoint", "tcp://127.0.0.1:*", "--frames", str(len(SAMPLES))]
    words += ["--reference", f"{folder}/references.npy", "--source", f"{folder}/samples.npy"]
    words += ["--role", "sample", "--truncate", "1", "--corrupt", "2", "--timeout", str(START_S)]
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", "emulate", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    found = re.fullmatch(r"publishing \S+ on (tcp://\S+)\n", process.stdout.readline())
    assert found is not None
    return process, found[1]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file of each format, and under "process" what `cade process` makes of the same frames."""
    folder = tmp_path_factory.mktemp("formats")
    np.save(folder / "references.npy", REFERENCES)
    np.save(folder / "samples.npy", SAMPLES)
    with ExitStack() as stack:
        emulators = {name: start_emulator(name, folder) for name in FORMATS}
        for process, _ in emulators.values():
            stack.enter_context(process)
            stack.callback(process.kill)
        sources: list[Line] = [
            {"kind": "stream", "format": name, "endpoint": endpoint}
            | {"socket": RECEIVERS.get(name, "pull")}
            for name, (_, endpoint) in emulators.items()
        ]
        config = configuration(
            folder,
            sources,
            geometry={"energy_ev": 3e4, "pixel_size_m": 1e-5},
            output={"path": "{root}/{series}.h5"},
        )
        with Daemon(config) as daemon:
            for process, _ in emulators.values():
                assert process.wait(timeout=START_S) == 0
            daemon.wait_for("file opened", count=len(FORMATS))
            opened = {line["series"]: Path(line["file"]) for line in daemon.logged("file opened")}
            daemon.wait_until(
                lambda: all(rows_in(path) == len(SAMPLES) for path in opened.values()), "all rows"
            )
            check_account(
                daemon.stop(),
                written=len(FORMATS) * len(SAMPLES),
                kept=len(FORMATS) * len(REFERENCES),
                malformed=len(FORMATS) * 3,
            )
        endpoints = {endpoint: name for name, (_, endpoint) in emulators.items()}
    files = {endpoints[series.rpartition(" ")[2]]: path for series, path in opened.items()}
    words = ["--reference", f"{folder}/references.npy", "--sample", f"{folder}/samples.npy"]
    done = cade("process", *words, "--output", f"{folder}/process.h5", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    return {**files, "process": folder / "process.h5"}


@pytest.mark.parametrize("name", FORMATS)
def test_results_are_those_of_cade_process(results: dict[str, Path], name: str) -> None:
    with h5py.File(results[name], "r") as live, h5py.File(results["process"], "r") as stored:
        for field in FIELDS:
            assert live[f"entry/{field}"].shape == SAMPLES.shape
            np.testing.assert_allclose(
                live[f"entry/{field}"][()], stored[f"entry/{field}"][()], rtol=1e-5, atol=1e-6
            )
        medians = np.nanmedian(live["entry/displacement/x"][()], axis=(1, 2))
    np.testing.assert_allclose(medians, np.array(SHIFTS)[:, 0], atol=0.05)
    assert {reason for _, reason in rejected_in(results[name])} == {"malformed"}
