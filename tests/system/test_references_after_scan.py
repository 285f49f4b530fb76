"""The daemon as a process: references that come after the scan, or are of another experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.references.conditions import Conditions
from daemon.references.store import ReferenceStore
from tests.daemon_process import Daemon, Line, check_account, configuration, rejected_in
from tests.speckle import counts, moved, speckle

SHIFTS = [(0.1 * n, 0.3 - 0.1 * n) for n in range(6)]
REFERENCE = counts(speckle())
SAMPLES = np.stack([counts(moved(speckle(), *shift)) for shift in SHIFTS])


def folder_source(folder: Path) -> Line:
    folder.mkdir()
    return {"kind": "folder", "path": str(folder), "quiet_s": 0.05, "silence_s": 0.3}


def put(folder: Path, name: str, stack: NDArray[Any]) -> None:
    """A subfolder is a series; the file appears whole."""
    (folder / name).mkdir()
    np.save(folder / name / "part", stack)  # another name than the patterns take
    (folder / name / "part.npy").rename(folder / name / "frames.npy")


def series_file(tmp_path: Path, series: str) -> Path:
    return tmp_path / "output" / f"{series}.h5"


def test_reference_after_the_scan(tmp_path: Path) -> None:
    """Two of six samples fit into the memory, the others wait on the disk."""
    watched = tmp_path / "frames"
    config = configuration(
        tmp_path,
        [folder_source(watched)],
        output={"path": "{root}/{series}.h5"},
        references={
            "wait_memory_bytes": 2 * REFERENCE.nbytes,
            "wait_spool_bytes": 4 * REFERENCE.nbytes,
            "spool": str(tmp_path / "spool"),
            "max_drift_px": 5.0,
        },
    )
    with Daemon(config) as daemon:
        daemon.wait_for("ready")
        put(watched, "scan_1", SAMPLES)
        assert daemon.wait_for("samples wait for a reference")["images"] == len(SAMPLES)
        put(watched, "ref_1", REFERENCE)
        daemon.wait_for("file closed")
        stopped = daemon.stop()
    check_account(stopped, written=len(SAMPLES), kept=1)
    path = series_file(tmp_path, "1")
    with h5py.File(path) as file:
        assert file["entry/frames/image_id"][()].tolist() == list(range(len(SAMPLES)))
        medians = np.nanmedian(file["entry/displacement/x"][()], axis=(1, 2))
        drift_px = np.stack([file[f"entry/frames/drift_{axis}"][()] for axis in "xy"], axis=1)
    np.testing.assert_allclose(medians, np.array(SHIFTS)[:, 0], atol=0.05)
    np.testing.assert_allclose(drift_px, SHIFTS, atol=0.05)
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_reference_of_another_experiment_is_refused_with_the_reason(tmp_path: Path) -> None:
    watched = tmp_path / "frames"
    config = configuration(
        tmp_path,
        [folder_source(watched)],
        output={"path": "{root}/{series}.h5"},
        references={"wait_s": 0.5},
        geometry={"energy_ev": 3e4, "pixel_size_m": 1e-5},
    )
    ReferenceStore(tmp_path / "references").add(
        [("0", REFERENCE)], timestamp_s=1.7e9, conditions=Conditions(energy_ev=2.5e4)
    )
    with Daemon(config) as daemon:
        daemon.wait_for("ready")
        put(watched, "scan_1", SAMPLES)
        daemon.wait_for("file closed")
        stopped = daemon.stop()
    check_account(stopped, reference_energy=len(SAMPLES))
    expected = [(number, "reference_energy") for number in range(len(SAMPLES))]
    assert rejected_in(series_file(tmp_path, "1")) == expected
