"""The daemon driven by PVs of a real IOC, its frames from a real stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cade.frames import Beamline, Image, Role
from simulator.emulated_series import EmulatedSeries
from simulator.emulator import Emulator
from tests.daemon_process import Daemon, check_account, configuration, rejected_in, rows_in
from tests.epics_controls import Controls
from tests.speckle import counts, moved, speckle

REFERENCES = [counts(speckle() + n) for n in range(2)]
SAMPLES = [counts(moved(speckle(), 0.1 * n, -0.1)) for n in range(4)]
OPTICS = Beamline(energy_ev=2e4, pixel_size_m=1e-5)
IN_AND_OUT = [
    {"role": "dark", "when": [{"pv": "TEST:Shutter", "equals": "Closed"}]},
    {"role": "sample", "when": [{"pv": "TEST:Stage", "equals": 12.5, "tolerance": 0.1}]},
    {"role": "reference", "when": [{"pv": "TEST:Stage", "equals": 0, "tolerance": 0.1}]},
]
METADATA = [
    {"pv": "TEST:Energy", "use": "energy"},
    {"pv": "TEST:Current", "use": "monitor"},
    {"pv": "TEST:Stage", "name": "stage", "when": "frame"},
    {"pv": "TEST:Sample", "use": "sample_name", "when": "frame"},
    {"pv": "TEST:Proposal", "use": "proposal"},
    {"pv": "TEST:Wave", "name": "wave", "when": "frame"},
    {"pv": "TEST:Nowhere", "use": "distance"},
]


@pytest.fixture
def ioc() -> Iterator[Controls]:
    ioc = Controls()
    yield ioc
    ioc.close()


@pytest.fixture
def detector() -> Iterator[Emulator]:
    with Emulator("dectris-v2", "tcp://127.0.0.1:*", beamline=OPTICS) as detector:
        yield detector


def configured(folder: Path, detector: Emulator, **pvs: Any) -> Path:
    source = {"kind": "stream", "format": "dectris-v2", "endpoint": detector.endpoint}
    return configuration(folder, [source], epics=pvs)


def publish(detector: Emulator, images: list[Image], role: Role | None = None) -> None:
    """One series of the detector."""
    detector.publish([EmulatedSeries(role, len(images), images)])


def said(daemon: Daemon, beginning: str) -> list[dict[str, Any]]:
    """Log lines that begin like this."""
    return [line for line in daemon.log if line["message"].startswith(beginning)]


def test_series_by_pv(tmp_path: Path, ioc: Controls, detector: Emulator) -> None:
    """The stream says no roles, and its own series and numbers do not matter."""
    path = tmp_path / "output/scan.h5"
    config = configured(tmp_path, detector, acquire_pv="TEST:Acquire", role_pv="TEST:Role")
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
    assert energy_ev == pytest.approx(2e4)


def test_a_scan_that_only_pvs_describe(tmp_path: Path, ioc: Controls, detector: Emulator) -> None:
    """Reference, a stage in transit, sample: by where the stage is, with metadata of all kinds."""
    config = configured(
        tmp_path, detector, acquire_pv="TEST:Acquire", roles=IN_AND_OUT, metadata=METADATA,
        settle_s=0.5,
    )  # fmt: skip
    config.write_text(config.read_text().replace("{root}/scan.h5", "{root}/{proposal}/scan.h5"))
    values: dict[str, float | str] = {
        "Shutter": "Open",
        "Stage": 0.02,
        "Energy": 30.0,
        "Current": 0.0,
        "Sample": "moth 3",
        "Proposal": "mx-1234",
    }
    for name, value in values.items():
        ioc.put(name, value)
    with Daemon(config, **ioc.environment) as daemon:
        daemon.wait_for("PV connected", count=8)
        for number, (stage, images) in enumerate(
            [(0.02, REFERENCES), (6.0, SAMPLES[:1]), (12.45, SAMPLES)], start=1
        ):
            ioc.put("Stage", stage)
            ioc.put("Current", 100.0 + stage)
            ioc.put("Acquire", 1)
            publish(detector, images)
            ioc.put("Acquire", 0)
            daemon.wait_for("series ended", count=number)
        stopped = daemon.stop()
    check_account(stopped, written=len(SAMPLES), kept=len(REFERENCES), no_role=1)
    [rejected] = daemon.logged("frame rejected", reason="no_role")
    assert rejected["detail"] == (
        "no rule of epics.roles holds: TEST:Shutter is Open, TEST:Stage is 6"
    )
    assert daemon.logged("PV is an array of 3 values, not one number", pv="TEST:Wave")
    assert len(daemon.logged("PV is not connected", pv="TEST:Nowhere")) == 1
    with h5py.File(tmp_path / "output/mx-1234/scan.h5") as file:
        entry = file["entry"]
        assert entry["experiment_identifier"].asstr()[()] == "mx-1234"
        assert entry["sample/name"].asstr()[()] == "moth 3"
        assert entry["instrument/beam/incident_energy"][()] == pytest.approx(30e3)
        medians = np.nanmedian(entry["displacement/x"][()], axis=(1, 2))
        check_readings(entry["pv"])
        check_columns(entry["frames/pv"], entry["frames/timestamp"][()])
    assert medians == pytest.approx([0, 0.1, 0.2, 0.3], abs=0.04)


def check_readings(group: h5py.Group) -> None:
    found = {
        name: (item[()], item.attrs.get("units"), bool(item.attrs["connected"]))
        for name, item in group.items()
    }
    assert group.attrs["NX_class"] == "NXcollection"
    assert found.pop("energy") == (30.0, "keV", True)
    assert found.pop("stage") == (12.45, "mm", True)
    assert found.pop("monitor") == (112.45, "mA", True)
    assert found.pop("sample_name") == (b"moth 3", None, True)
    assert found.pop("proposal") == (b"mx-1234", None, True)
    value, units, connected = found.pop("wave")
    assert np.isnan(value)
    assert connected
    value, units, connected = found.pop("distance")
    assert np.isnan(value)
    assert (units, connected) == ("", False)
    assert found == {}
    assert group["wave"].attrs["problem"] == "is an array of 3 values, not one number"
    assert group["energy"].attrs["pv"] == "TEST:Energy"
    assert group["energy"].attrs["age_s"] > 0
    assert group["energy"].attrs["timestamp"].endswith("+00:00")
    assert "age_s" not in group["distance"].attrs


def check_columns(group: h5py.Group, frame_times_s: Any) -> None:
    count = len(SAMPLES)
    assert group.attrs["NX_class"] == "NXcollection"
    assert set(group) == {
        f"{name}{kind}"
        for name in ("monitor", "stage", "sample_name", "wave")
        for kind in ("", "_timestamp", "_age", "_connected")
    }
    assert group["stage"][()].tolist() == [12.45] * count
    assert group["stage"].attrs["units"] == "mm"
    assert group["sample_name"].asstr()[()].tolist() == ["moth 3"] * count
    assert np.isnan(group["wave"][()]).all()
    assert group["wave_connected"][()].all()
    times_s = group["stage_timestamp"][()]
    assert (np.ptp(times_s), group["stage_timestamp"].attrs["units"]) == (0.0, "s")
    assert np.abs(times_s - frame_times_s).max() < 60.0
    assert (group["stage_age"][()] > 0).all()


def test_the_ioc_dies_in_mid_scan(tmp_path: Path, ioc: Controls, detector: Emulator) -> None:
    """While it is away, and when it has come back with its level at 0, frames go on."""
    metadata = [{"pv": "TEST:Stage", "name": "stage", "when": "frame"}]
    config = configured(
        tmp_path, detector, acquire_pv="TEST:Acquire", roles=IN_AND_OUT, metadata=metadata,
        settle_s=0.2, connect_s=3.0,
    )  # fmt: skip
    path = tmp_path / "output/scan.h5"
    ioc.put("Shutter", "Open")
    with Daemon(config, **ioc.environment) as daemon:
        daemon.wait_for("PV connected", count=3)
        ioc.put("Stage", 0.0)
        ioc.put("Acquire", 1)
        publish(detector, REFERENCES)
        ioc.put("Acquire", 0)
        daemon.wait_for("series ended")
        ioc.put("Stage", 12.5)
        ioc.put("Acquire", 1)
        publish(detector, SAMPLES[:2])
        daemon.wait_until(lambda: rows_in(path) == 2)
        ioc.kill()
        daemon.wait_for("PV disconnected; waiting for it to come back", count=3)
        publish(detector, SAMPLES[2:])
        daemon.wait_until(lambda: rows_in(path) == 4)
        ioc.boot()
        daemon.wait_for("PV connected", count=6)
        publish(detector, SAMPLES)  # longer than settle_s after it
        daemon.wait_until(lambda: rows_in(path) == 8)
        daemon.wait_for("series ended", count=2)
        ioc.put("Shutter", "Open")
        ioc.put("Stage", 12.5)
        ioc.put("Acquire", 1)
        publish(detector, SAMPLES[:2])
        ioc.put("Acquire", 0)
        daemon.wait_for("series ended", count=3)
        stopped = daemon.stop()
    check_account(stopped, written=10, kept=len(REFERENCES))
    with h5py.File(path) as file:
        pv = file["entry/frames/pv"]
        assert pv["stage_connected"][()].tolist() == [True] * 2 + [False] * 2 + [True] * 4
        stage = pv["stage"][()]
        assert stage[:2].tolist() == [12.5, 12.5]
        assert np.isnan(stage[2:4]).all()
        assert stage[4:].tolist() == [0.0] * 4, "what the IOC has started with"
        assert np.isfinite(pv["stage_timestamp"][:4]).all()
    assert rows_in(tmp_path / "output/scan_1.h5") == 2


def test_a_late_ioc(tmp_path: Path, detector: Emulator) -> None:
    """What the detector does before is processed in its own series."""
    ioc = Controls(boot=False)
    config = configured(
        tmp_path, detector, acquire_pv="TEST:Acquire", role_pv="TEST:Role", settle_s=0.2,
        connect_s=0.5, metadata=[{"pv": "TEST:Energy", "use": "energy"}],
    )  # fmt: skip
    try:
        with Daemon(config, **ioc.environment) as daemon:
            daemon.wait_until(lambda: len(said(daemon, "PV is silent")) == 3)
            publish(detector, SAMPLES)
            daemon.wait_for("series ended")
            ioc.boot()
            daemon.wait_for("PV connected", count=3)
            ioc.put("Energy", 20.0)
            ioc.put("Role", "reference")
            ioc.put("Acquire", 1)
            publish(detector, REFERENCES)
            ioc.put("Acquire", 0)
            daemon.wait_for("series ended", count=2)
            stopped = daemon.stop()
    finally:
        ioc.close()
    check_account(stopped, written=len(SAMPLES), kept=len(REFERENCES))
    names = [line["series"] for line in daemon.logged("series started")]
    assert not names[0].startswith("epics-")
    assert names[1].startswith("epics-")
    with h5py.File(tmp_path / "output/scan.h5") as file:
        assert file["entry/instrument/beam/incident_energy"][()] == pytest.approx(2e4)
        assert np.isnan(file["entry/pv/energy"][()])
        assert not file["entry/pv/energy"].attrs["connected"]


def test_pvs_of_another_type(tmp_path: Path, ioc: Controls, detector: Emulator) -> None:
    """Named once, and the frames are processed as if there were no such PVs."""
    ioc.kill()
    ioc.boot("odd")
    config = configured(
        tmp_path, detector, acquire_pv="TEST:Acquire", role_pv="TEST:Wave", settle_s=0.2,
        metadata=[{"pv": "TEST:Energy", "use": "energy", "when": "frame"}],
    )  # fmt: skip
    with Daemon(config, **ioc.environment) as daemon:
        daemon.wait_for("PV connected", count=3)
        for number, images in enumerate([SAMPLES, SAMPLES], start=1):
            publish(detector, REFERENCES, Role.REFERENCE)
            publish(detector, images)
            daemon.wait_for("series ended", count=2 * number)
        stopped = daemon.stop()
    check_account(stopped, written=2 * len(SAMPLES), kept=2 * len(REFERENCES))
    assert len(daemon.logged("PV is the text 'thirty', not a number", pv="TEST:Energy")) == 1
    assert len(said(daemon, "PV is no number; 1 starts a series")) == 1
    assert len(said(daemon, "PV states no role: is an array")) == 1
    with h5py.File(tmp_path / "output/scan.h5") as file:
        assert np.isnan(file["entry/frames/pv/energy"][()]).all()
        assert file["entry/instrument/beam/incident_energy"][()] == pytest.approx(2e4)


def test_roles_of_the_detectors_own_series(
    tmp_path: Path, ioc: Controls, detector: Emulator
) -> None:
    """Without an acquire PV the detector says what a series is."""
    ioc.put("Shutter", "Open")
    ioc.put("Stage", 0.0)
    config = configured(tmp_path, detector, roles=IN_AND_OUT, settle_s=0.1)
    with Daemon(config, **ioc.environment) as daemon:
        for number, (stage, images) in enumerate(
            [(0.0, REFERENCES), (6.0, SAMPLES), (12.5, SAMPLES)], start=1
        ):
            ioc.put("Stage", stage)
            publish(detector, images)
            daemon.wait_for("series ended", count=number)
        stopped = daemon.stop()
    check_account(stopped, written=4, kept=2, no_role=4)
    assert rejected_in(tmp_path / "output/scan.h5") == []
