"""The daemon driven by PVs of a real IOC, its frames from a real stream."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from cade.frames import Beamline
from simulator.emulator import EmulatedSeries, Emulator
from tests.daemon_process import (
    PATIENCE_S,
    ROOT,
    Daemon,
    check_account,
    configuration,
    environment,
    rows_in,
)
from tests.speckle import counts, moved, speckle

REFERENCES = [counts(speckle() + n) for n in range(2)]
SAMPLES = [counts(moved(speckle(), 0.1 * n, -0.1)) for n in range(4)]
PUT = """
import sys, epics
for line in sys.stdin:
    name, value = line.split()
    print(epics.caput(name, value, wait=True, timeout=30), flush=True)
"""


class Controls:
    """A real IOC and a client, each a process of its own."""

    def __init__(self) -> None:
        self._ioc = self._start([str(ROOT / "tests/ioc.py"), "TEST"], {})
        assert self._ioc.stdout is not None
        self.environment: dict[str, str] = json.loads(self._ioc.stdout.readline())
        self._client = self._start(["-c", PUT], self.environment)

    @staticmethod
    def _start(words: list[str], more: dict[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *words],
            env=environment(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # EPICS libraries talk about beacons and lost circuits
            text=True,
        )

    def put(self, name: str, value: object) -> None:
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(f"TEST:{name} {value}\n")
        self._client.stdin.flush()
        assert self._client.stdout.readline() == "1\n"

    def close(self) -> None:
        for process in (self._client, self._ioc):
            process.kill()
            process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def ioc() -> Iterator[Controls]:
    ioc = Controls()
    yield ioc
    ioc.close()


def test_series_by_pv(tmp_path: Path, ioc: Controls) -> None:
    """The stream says no roles, and its own series and numbers do not matter."""
    path = tmp_path / "output/scan.h5"
    beamline = Beamline(energy_ev=3e4, pixel_size_m=1e-5)
    with Emulator("dectris-v2", "tcp://127.0.0.1:*", beamline=beamline) as detector:
        source = {"kind": "stream", "format": "dectris-v2", "endpoint": detector.endpoint}
        pvs = {"acquire_pv": "TEST:Acquire", "role_pv": "TEST:Role", "settle_s": 1.0}
        config = configuration(tmp_path, [source], epics=pvs)
        with Daemon(config, **ioc.environment) as daemon:
            daemon.wait_for("PV connected", count=2)
            detector.publish([EmulatedSeries(None, 1, SAMPLES)])  # nobody has asked for it
            daemon.wait_for("frame rejected", reason="no_series")
            for number, (role, frames) in enumerate(
                [("reference", REFERENCES), ("sample", SAMPLES)], start=1
            ):
                ioc.put("Role", role)
                ioc.put("Acquire", 1)  # frames may be faster than this on its way to the daemon
                detector.publish([EmulatedSeries(None, 1, [image]) for image in frames])
                ioc.put("Acquire", 0)
                daemon.wait_for("series ended", count=number)
            stopped = daemon.stop()
    check_account(stopped, written=len(SAMPLES), kept=len(REFERENCES), no_series=1)
    started = daemon.logged("series started")
    assert [line["role"] for line in started] == ["reference", "sample"]
    assert all(line["series"].startswith("epics-") for line in started)
    assert rows_in(path) == len(SAMPLES)
    with h5py.File(path) as file:
        assert file["entry/frames/image_id"][()].tolist() == [0, 1, 2, 3]
        medians = np.nanmedian(file["entry/displacement/x"][()], axis=(1, 2))
        assert file["entry/phase/phase"].shape[0] == len(SAMPLES), "optics of the start message"
        energy_ev = file["entry/instrument/beam/incident_energy"][()]
    assert medians == pytest.approx([0, 0.1, 0.2, 0.3], abs=0.04)
    assert energy_ev == pytest.approx(3e4)
