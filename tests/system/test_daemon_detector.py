"""The running daemon with a detector that is turned, cropped, binned and masked.

Its file is that of `cade process` with the same configuration, number by number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the bitshuffle filter
import numpy as np
import tifffile
from numpy.typing import NDArray

from tests.daemon_process import Daemon, cade, check_account, configuration, rows_in
from tests.speckle import counts, moved, speckle

SHAPE = (112, 128)


def save(path: Path, image: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    tifffile.imwrite(hidden, image, photometric="minisblack")
    return hidden.rename(path)


def fields(path: Path) -> dict[str, NDArray[Any]]:
    names = (
        "displacement/x", "displacement/y", "displacement/position_x", "displacement/position_y",
        "phase/phase", "transmission/transmission", "frames/transmission_scale",
        "instrument/detector/x_pixel_offset",
    )  # fmt: skip
    with h5py.File(path) as file:
        return {name: file["entry"][name][()] for name in names}


def test_live_and_from_files_are_the_same(tmp_path: Path) -> None:
    scene = speckle(SHAPE, sigma_px=2.5)
    mask = np.zeros(SHAPE, "u1")
    mask[30:33, 40:44] = 1
    dark = np.full(SHAPE, 50.0)
    images = {
        "dark": dark,
        "flat": dark + 2000 * speckle(SHAPE, seed=4, sigma_px=8) / 1000,
        "ref": dark + scene,
        "s_0": dark + moved(scene, 0.5, -0.3),
        "s_1": dark + 0.8 * moved(scene, -0.2, 0.7),
    }
    paths = {
        name: save(tmp_path / "scan" / f"{n}_{name}.tif", counts(image))
        for n, (name, image) in enumerate(images.items())
    }
    config = configuration(
        tmp_path,
        [{"kind": "folder", "path": str(tmp_path / "scan"), "silence_s": 0.5, "quiet_s": 0.1}],
        geometry={"energy_ev": 3e4, "pixel_size_m": 1e-5},
        detector={
            "mask": str(save(tmp_path / "mask.tif", mask)),
            "rotation_deg": 90,
            "flip_y": True,
            "roi": [6, 121, 4, 110],
            "binning": 2,
            "saturation_value": 60000.0,
        },
        transmission={"free_air": [10, 60, 10, 60]},
    )
    live, filed = tmp_path / "output" / "scan.h5", tmp_path / "filed.h5"
    with Daemon(config) as daemon:
        daemon.wait_for("ready")
        daemon.wait_until(lambda: rows_in(live) == 2, "rows")
        check_account(daemon.stop(), written=2, kept=3)
    done = cade(
        "process", "--config", str(config), "--output", str(filed), "--reference",
        str(paths["ref"]), "--flat", str(paths["flat"]), "--dark", str(paths["dark"]),
        "--sample", str(paths["s_0"]), str(paths["s_1"]),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected, found = fields(filed), fields(live)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert found["phase/phase"].shape == (2, 57, 53)
    # turned clockwise, (right, down) becomes (down, left): (uy, ux) of the scene is (−down, right)
    x, y = (np.nanmedian(found[f"displacement/{name}"], axis=(1, 2)) * 2 for name in "xy")
    np.testing.assert_allclose(x, [0.3, -0.7], atol=0.06)
    np.testing.assert_allclose(y, [-0.5, 0.2], atol=0.06)
    np.testing.assert_allclose(found["frames/transmission_scale"], [1, 1.25], rtol=0.02)


def test_the_monitor_of_nexus_files(tmp_path: Path) -> None:
    """It is kept with the stored reference, and taken frame by frame for the samples."""
    scene = 10 * speckle(SHAPE)
    (tmp_path / "scan").mkdir()
    for name, images, monitors in (
        ("0_ref", [scene, scene], [240.0, 260.0]),
        ("1_s", [0.8 * scene, 0.4 * scene, scene], [200.0, 100.0, -1.0]),
    ):
        hidden = tmp_path / "scan" / f".{name}"
        with h5py.File(hidden, "w") as file:
            file["entry/data/data"] = np.stack([counts(image) for image in images])
            file["entry/control/data"] = monitors
        hidden.rename(tmp_path / "scan" / f"{name}.h5")
    source = {"kind": "folder", "path": str(tmp_path / "scan"), "silence_s": 0.5, "quiet_s": 0.1}
    config = configuration(tmp_path, [source], geometry={"energy_ev": 3e4, "pixel_size_m": 1e-5})
    live = tmp_path / "output" / "scan.h5"
    with Daemon(config) as daemon:
        daemon.wait_until(lambda: rows_in(live) == 3, "rows")
        check_account(daemon.stop(), written=3, kept=2)
        [warning] = daemon.logged("transmission is not normalised")
    assert warning["problem"] == "a sample's monitor value is -1"
    with h5py.File(live) as file:
        entry = file["entry"]
        np.testing.assert_allclose(entry["frames/reference_monitor"], 250)
        np.testing.assert_array_equal(entry["frames/transmission_scale"], [1.25, 2.5, np.nan])
        transmission = np.nanmedian(entry["transmission/transmission"], axis=(1, 2))
        by = entry["process_1_correction/parameters/transmission_normalised_by"][()]
    np.testing.assert_allclose(transmission, 1, atol=0.01)
    assert by == b"monitor"
