"""`cade simulate phantom`: every kind, what a detector does to it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from daemon.commands import main

FIELDS = {"ux_px", "uy_px", "phase_rad", "transmission", "dark_field"}


def phantom(*words: object) -> int:
    return main(["simulate", "phantom", *(str(word) for word in words)])


def truth(folder: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    with np.load(folder / "truth.npz") as file:
        return {name: file[name] for name in file}


@pytest.fixture
def hill(tmp_path: Path) -> Path:
    y, x = np.mgrid[-16:16, -20:20]
    np.save(tmp_path / "hill.npy", 1e-4 * np.exp(-(x**2 + y**2) / 60.0))
    return tmp_path / "hill.npy"


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        ("sine", (32, 384), []),
        ("hills", (64, 72), ["--number", 3, "--largest-px", 0.5]),
        ("spheres", (80, 88), ["--number", 1, "--radius-um", 100, "--material", "pmma"]),
        ("wedge", (48, 64), ["--largest-px", 0.4]),
        ("rods", (96, 96), ["--number", 1, "--angle-deg", 30, "--radius-um", 40]),
    ],
)
def test_kinds(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    shape: tuple[int, int],
    words: list[object],
) -> None:
    output = tmp_path / kind
    assert (
        phantom("--kind", kind, "--shape", *shape, "--frames", 2, *words, "--output", output) == 0
    )
    assert "visibility 3" in capsys.readouterr().out
    found = truth(output)
    assert {name: array.shape for name, array in found.items()} == dict.fromkeys(
        FIELDS, (2, *shape)
    )
    largest = np.nanmax(np.abs(found["ux_px"]))
    assert 0.1 < largest < 1
    if kind in ("hills", "wedge"):
        moved = np.hypot(found["ux_px"], found["uy_px"])
        assert np.nanmax(moved) == pytest.approx({"hills": 0.5, "wedge": 0.4}[kind], rel=0.02)
    assert np.isfinite(found["phase_rad"]).all()
    assert np.isfinite(found["ux_px"]).mean() > 0.97
    samples = [tifffile.imread(output / f"sample_000{i}.tif").astype(float) for i in range(2)]
    reference = tifffile.imread(output / "reference_000.tif").astype(float)
    assert reference.mean() == pytest.approx(2000, rel=0.01)
    valid = np.isfinite(found["transmission"])
    ratio = np.mean(samples[0][valid[0]]) / np.mean(reference[valid[0]])
    assert ratio == pytest.approx(found["transmission"][0][valid[0]].mean(), rel=0.03)


def test_everything_at_once(tmp_path: Path, hill: Path) -> None:
    output = tmp_path / "map"
    words: list[object] = ["--kind", "map", "--map", hill, "--map-pitch-um", 5]
    words += ["--material", "C8H8 1.05", "--energy-kev", 20, "--source-distance-m", "none"]
    words += ["--distance-m", 0.8, "--pixel-um", 6.5, "--shape", 48, 60, "--scatter", 0.8]
    words += ["--scatter-grain-um", 5, "--gain", 3, "--dark-level", 100, "--read-noise", 4]
    words += ["--counts", 5000, "--dtype", "uint32", "--saturation", 100_000, "--bad-pixels", 9]
    words += ["--flats", 2, "--darks", 3, "--references", 2, "--frames", 1, "--seed", 5]
    assert phantom(*words, "--output", output) == 0
    frames = {path.stem: tifffile.imread(path) for path in output.glob("*.tif")}
    assert sorted(frames) == [
        *(f"dark_00{i}" for i in range(3)),
        *(f"flat_00{i}" for i in range(2)),
        *(f"reference_00{i}" for i in range(2)),
        "sample_0000",
    ]
    for image in frames.values():
        assert image.dtype == np.uint32
        assert (image == 0).sum() == 5
        assert (image == 100_000).sum() >= 4
    dark, reference = frames["dark_000"].astype(float), frames["reference_000"].astype(float)
    assert np.median(dark) == pytest.approx(100, abs=1)
    assert (reference.mean() - 100) / 3 == pytest.approx(5000, rel=0.03)
    found = truth(output)
    assert 0.2 < found["dark_field"].min() < 0.99
    assert found["phase_rad"].min() < -1
    assert np.abs(found["ux_px"][0, :, :5]).max() < 1e-3


def test_a_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        words = ["--kind", "rods", "--number", 1, "--shape", 64, 64, "--frames", 1, "--seed", seed]
        assert (
            phantom(*words, "--bad-pixels", 6, "--read-noise", 2, "--output", tmp_path / name) == 0
        )
    a, b, c = (tifffile.imread(tmp_path / name / "sample_0000.tif") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a == 0, c == 0)


def test_the_daemon_takes_what_is_written(tmp_path: Path) -> None:
    """Flats and darks correct the frames, and the tracker finds the wedge."""
    import h5py
    import hdf5plugin  # noqa: F401 - registers the filter

    output = tmp_path / "wedge"
    words = ["--kind", "wedge", "--shape", 96, 128, "--frames", 1, "--counts", 20_000]
    words += ["--dark-level", 300, "--read-noise", 5, "--flats", 2, "--darks", 2]
    words += ["--bad-pixels", 20, "--largest-px", 0.4]
    assert phantom(*words, "--output", output) == 0
    command = ["process", "--tracker", "zncc", "--displacement-only"]
    for role in ("reference", "flat", "dark"):
        command += [f"--{role}", *(str(path) for path in sorted(output.glob(f"{role}_*.tif")))]
    command += ["--sample", str(output / "sample_0000.tif"), "--output", str(tmp_path / "out.h5")]
    assert main(command) == 0
    with h5py.File(tmp_path / "out.h5") as file:
        ux_px = file["entry/displacement/x"][0][20:76, 30:98]
    assert np.nanmedian(ux_px) == pytest.approx(-0.4, abs=0.02)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--kind", "spheres", "--radius-um", "-1"], "--radius-um must be a positive number"),
        (["--kind", "spheres", "--radius-um", "200"], "does not fit into a frame"),
        (["--kind", "wedge", "--radius-um", "20"], "--radius-um goes with --kind spheres or rods"),
        (["--kind", "wedge", "--largest-px", "nan"], "--largest-px must be a positive number"),
        (["--kind", "wedge", "--largest-px", "30"], "its phase changes by"),
        (["--largest-px", "3"], "rays cross"),
        (["--kind", "rods", "--angle-deg", "inf"], "--angle-deg must be a number"),
        (["--kind", "rods", "--material", "unobtainium"], "unobtainium"),
        (["--kind", "map"], "--kind map needs --map FILE and --map-pitch-um P"),
        (["--kind", "map", "--map", "hill.npy", "--map-pitch-um", "0"], "its pitch must be"),
        (["--kind", "map", "--map", "hill.npy", "--map-pitch-um", "50"], "do not fit into a frame"),
        (["--energy-kev", "0"], "energy_ev must be a positive number"),
        (["--distance-m", "nan"], "distance_m must be a positive number"),
        (["--distance-m", "100", "--source-distance-m", "100"], "cannot hold the phase"),
        (["--source-distance-m", "-1"], "source_distance_m must be positive"),
        (["--pixel-um", "-3"], "pixel_size_m must be a positive number"),
        (["--oversampling", "3"], "oversampling must be even"),
        (["--counts", "0"], "mean counts must be a positive number"),
        (["--counts", "70000"], "at or above saturation"),
        (["--gain", "0"], "the gain must be a positive number"),
        (["--read-noise", "-1"], "read_noise must be zero or more"),
        (["--dark-level", "70000"], "saturation must be above the dark level"),
        (["--saturation", "70000"], "at most 65535"),
        (["--bad-pixels", "5000"], "bad pixels are all of a frame"),
        (["--bad-pixels", "-1"], "must be at least 0"),
        (["--scatter", "0"], "--scatter must be a positive number"),
        (["--scatter", "9"], "at most"),
        (["--scatter-grain-um", "2"], "--scatter-grain-um needs --scatter"),
        (["--flats", "-1"], "must be at least 0"),
    ],
)
def test_wrong_use(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hill: Path,
    words: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert phantom(*words, "--shape", 48, 56, "--output", "new") == 2
    assert complaint in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [hill.name]


def test_a_map_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--kind", "map", "--map", tmp_path / "no.npy", "--map-pitch-um", 4]
    assert phantom(*words, "--shape", 48, 56, "--output", tmp_path / "new") == 1
    assert "no.npy: does not exist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
