"""Files that an areaDetector plugin announces by its PVs, written beside a real IOC."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest
import tifffile

from cade.frames import Image
from tests.daemon_process import Daemon, check_account, configuration, rejected_in, rows_in
from tests.epics_controls import Controls
from tests.speckle import counts, moved, speckle

REFERENCES = [counts(speckle() + n) for n in range(2)]
SAMPLES = [counts(moved(speckle(), 0.1 * n, -0.1)) for n in range(4)]
ROLES = [
    {"role": "sample", "when": [{"pv": "TEST:Stage", "equals": 12.5, "tolerance": 0.1}]},
    {"role": "reference", "when": [{"pv": "TEST:Stage", "equals": 0, "tolerance": 0.1}]},
]
IOC_FOLDER = "/mnt/raid"


class FilePlugin:
    """Does to files and PVs what areaDetector's plugin does."""

    def __init__(self, controls: Controls, folder: Path) -> None:
        self._controls, self._folder = controls, folder
        folder.mkdir()

    def put(self, field: str, value: Any) -> None:
        self._controls.put(f"HDF1:{field}", value)

    def begin(self, name: str) -> None:
        self.put("Capture_RBV", 1)
        self.put("FullFileName_RBV", f"{IOC_FOLDER}/{name}")

    def write(self, name: str, images: list[Image]) -> None:
        with h5py.File(self._folder / name, "w") as file:
            file["entry/data/data"] = images
        self.put("NumCaptured_RBV", len(images))

    def capture(self, name: str, images: list[Image]) -> None:
        self.begin(name)
        self.write(name, images)
        self.put("Capture_RBV", 0)


def lost(daemon: Daemon) -> str:
    """What has been said of files that were rejected."""
    return " ".join(line["detail"] for line in daemon.logged("frame rejected"))


def wait_for_loss(daemon: Daemon, name: str) -> None:
    daemon.wait_until(lambda: name in lost(daemon))


@pytest.fixture
def ioc() -> Iterator[Controls]:
    ioc = Controls()
    yield ioc
    ioc.close()


@pytest.fixture
def plugin(ioc: Controls, tmp_path: Path) -> FilePlugin:
    return FilePlugin(ioc, tmp_path / "raid")


def configured(folder: Path, *, give_up_s: float = 30.0, **pvs: Any) -> Path:
    source = {
        "kind": "areadetector",
        "file_plugin": "TEST:HDF1:",
        "path": str(folder / "raid"),
        "ioc_path": IOC_FOLDER,
        "give_up_s": give_up_s,
    }
    return configuration(folder, [source], epics={"roles": ROLES, "settle_s": 0.2, **pvs})


def test_a_scan_in_files(tmp_path: Path, ioc: Controls, plugin: FilePlugin) -> None:
    """Acquire falls long before the file is complete, and the next one rises before that."""
    config = configured(tmp_path, acquire_pv="TEST:Acquire")
    ioc.put("Stage", 0.0)
    with Daemon(config, **ioc.environment) as daemon:
        daemon.wait_for("PV connected", count=8)
        ioc.put("Acquire", 1)
        plugin.begin("ref.h5")
        ioc.put("Acquire", 0)
        plugin.write("ref.h5", REFERENCES)
        ioc.put("Stage", 12.5)
        ioc.put("Acquire", 1)
        plugin.put("Capture_RBV", 0)
        daemon.wait_for("series ended")
        plugin.capture("sample.h5", SAMPLES)
        ioc.put("Acquire", 0)
        daemon.wait_for("series ended", count=2)
        stopped = daemon.stop()
    check_account(stopped, written=len(SAMPLES), kept=len(REFERENCES))
    assert [s["role"] for s in daemon.logged("series started")] == ["reference", "sample"]
    assert rows_in(tmp_path / "output/scan.h5") == len(SAMPLES)


def test_every_file_is_a_series(tmp_path: Path, ioc: Controls, plugin: FilePlugin) -> None:
    """And what cannot be one is rejected, with the reason; the next one is good."""
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["entry/data/data"] = SAMPLES
    (tmp_path / "raid/link.h5").symlink_to(secret)
    os.mkfifo(tmp_path / "raid/fifo.h5")
    plugin.capture("yesterday.h5", SAMPLES)
    config = configured(tmp_path, give_up_s=0.5)
    ioc.put("Stage", 0.0)
    with Daemon(config, **ioc.environment) as daemon:
        daemon.wait_for("PV connected", count=7)
        plugin.capture("ref.h5", REFERENCES)
        daemon.wait_for("series ended")
        ioc.put("Stage", 12.5)
        for name in ("link.h5", "fifo.h5", "none.h5", "../secret.h5"):
            plugin.begin(name)
            plugin.put("Capture_RBV", 0)
            wait_for_loss(daemon, name)
        plugin.begin("half.h5")
        (tmp_path / "raid/half.h5").write_bytes(b"\x89HDF\r\n")
        plugin.put("Capture_RBV", 0)
        wait_for_loss(daemon, "half.h5")
        plugin.begin("failed.h5")
        plugin.put("WriteStatus", 1)
        plugin.put("WriteMessage", "no space left")
        plugin.put("Capture_RBV", 0)
        wait_for_loss(daemon, "failed.h5")
        plugin.put("WriteStatus", 0)
        plugin.capture("sample.h5", SAMPLES)
        daemon.wait_for("series ended", count=2)
        plugin.begin("short.h5")
        plugin.write("short.h5", SAMPLES[:2])
        plugin.put("NumCaptured_RBV", 3)
        plugin.put("Capture_RBV", 0)
        daemon.wait_for("series ended", count=3)
        stopped = daemon.stop()
    check_account(stopped, written=len(SAMPLES) + 2, kept=len(REFERENCES), unreadable=6)
    assert stopped["missing"] == 1
    for part in ("leads out of", "is not a regular file", "does not exist", "no space left"):
        assert part in lost(daemon)
    assert rejected_in(tmp_path / "output/scan.h5") == []
    assert [s["series"] for s in daemon.logged("series started")] == [
        "ref.h5", "sample.h5", "short.h5",
    ]  # fmt: skip


def test_the_ioc_dies_while_it_captures(tmp_path: Path, ioc: Controls, plugin: FilePlugin) -> None:
    """The file it left behind is taken when the IOC is there again, in its own series."""
    config = configured(tmp_path, acquire_pv="TEST:Acquire", connect_s=1.0)
    ioc.put("Stage", 0.0)
    with Daemon(config, **ioc.environment) as daemon:
        daemon.wait_for("PV connected", count=8)
        ioc.put("Acquire", 1)
        plugin.capture("ref.h5", REFERENCES)
        ioc.put("Acquire", 0)
        daemon.wait_for("series ended")
        ioc.put("Stage", 12.5)
        ioc.put("Acquire", 1)
        plugin.begin("sample.h5")
        plugin.write("sample.h5", SAMPLES)
        daemon.wait_until(lambda: bool(daemon.logged("PV connected")))
        ioc.kill()
        daemon.wait_for("PV disconnected", count=6)
        ioc.boot()
        daemon.wait_for("series ended", count=2)
        stopped = daemon.stop()
    check_account(stopped, written=len(SAMPLES), kept=len(REFERENCES))


def test_single_images(tmp_path: Path, ioc: Controls, plugin: FilePlugin) -> None:
    """As the TIFF plugin writes them; the acquire PV makes them a series."""
    config = configured(tmp_path, acquire_pv="TEST:Acquire")
    with Daemon(config, **ioc.environment) as daemon:
        daemon.wait_for("PV connected", count=8)
        for number, (stage, images) in enumerate([(0.0, REFERENCES), (12.5, SAMPLES)], start=1):
            ioc.put("Stage", stage)
            ioc.put("Acquire", 1)
            for index, image in enumerate(images):
                name = f"{number}_{index}.tif"
                plugin.put("WriteFile_RBV", 1)
                plugin.put("FullFileName_RBV", f"{IOC_FOLDER}/{name}")
                tifffile.imwrite(tmp_path / "raid" / name, image)
                plugin.put("WriteFile_RBV", 0)
            ioc.put("Acquire", 0)
            daemon.wait_for("series ended", count=number)
        stopped = daemon.stop()
    check_account(stopped, written=len(SAMPLES), kept=len(REFERENCES))
    with h5py.File(tmp_path / "output/scan.h5") as file:
        assert file["entry/frames/image_id"][()].tolist() == [0, 1, 2, 3]
