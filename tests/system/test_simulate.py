"""`cade simulate`: what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from daemon.commands import main


def simulate(*words: object) -> int:
    return main(["simulate", *(str(word) for word in words)])


@pytest.mark.parametrize("kind", ["paper", "wide"])
def test_references(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    output = tmp_path / "new" / "references.h5"
    words = ["references", "--set", kind, "--count", 3, "--shape", 64, 72, "--workers", 1]
    assert simulate(*words, "--verbose", "--output", output) == 0
    with h5py.File(output) as file:
        assert file["patterns"].shape == (3, 128, 144)
        assert file.attrs["samples_per_pixel"] == 2
        sizes, visibilities = file["speckle_fwhm"][:], file["visibility"][:]
    lines = capsys.readouterr().out.splitlines()
    assert [float(line.split()[1]) for line in lines[1:4]] == pytest.approx(sizes, abs=0.01)
    assert [float(line.split()[3]) for line in lines[1:4]] == pytest.approx(visibilities, abs=1e-3)
    assert lines[4].startswith("3 patterns; ")
    for line, numbers in ((lines[6], sizes), (lines[7], 12 * sizes), (lines[8], visibilities)):
        found = [float(word) for word in line.split()[-3:]]
        expected = [numbers.min(), np.median(numbers), numbers.max()]
        assert found == pytest.approx(expected, abs=0.06)
    names = sorted(path.name for path in output.parent.iterdir())
    assert names == ["references.h5", "references.png"]


@pytest.mark.parametrize(("kind", "shape"), [("sine", (28, 384)), ("hills", (40, 48))])
def test_phantom(tmp_path: Path, kind: str, shape: tuple[int, int]) -> None:
    words = ["phantom", "--kind", kind, "--frames", 2, "--references", 3, "--shape", *shape]
    assert simulate(*words, "--output", tmp_path) == 0  # an empty folder is as good as none
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        *(f"reference_00{i}.tif" for i in range(3)),
        *(f"sample_000{i}.tif" for i in range(2)),
        "truth.npz",
    ]
    sample = tifffile.imread(tmp_path / "sample_0001.tif")
    assert sample.shape == shape
    assert sample.dtype == np.uint16
    with np.load(tmp_path / "truth.npz") as truth:
        assert {name: truth[name].shape for name in truth} == dict.fromkeys(
            ("ux_px", "uy_px", "phase_rad", "transmission", "dark_field"), (2, *shape)
        )
        largest = np.abs(truth["ux_px"]).max()
    assert largest == pytest.approx(1 / 3, rel=0.01) if kind == "sine" else 0.1 < largest < 1


def test_pairs_in_one_file(tmp_path: Path) -> None:
    output = tmp_path / "pairs.npz"
    words = ["pairs", "--count", 3, "--shape", 20, 28, "--counts", 400, "--patch", 8, 16]
    assert simulate(*words, "--transmission", 0.9, 0.9, "--visibility", 0.1, 0.2) == 2
    assert (
        simulate(*words, "--transmission", 0.9, 0.9, "--visibility", 0.1, 0.2, "--output", output)
        == 0
    )
    with np.load(output) as pairs:
        assert {pairs[name].shape for name in pairs} == {(3, 20, 28)}
        assert pairs["reference"].mean() == pytest.approx(400, rel=0.2)
        assert np.array_equal(pairs["sample"], pairs["sample"].round())
        assert np.abs(pairs["ux_px"]).max() <= 1
        assert pairs["transmission"].mean() == pytest.approx(0.9, rel=0.05)


def test_pairs_in_a_folder_are_those_in_a_file(tmp_path: Path) -> None:
    words = ["pairs", "--count", 2, "--shape", 20, 28, "--seed", 3, "--output"]
    assert simulate(*words, tmp_path / "folder") == 0
    assert simulate(*words, tmp_path / "pairs.npz") == 0
    with np.load(tmp_path / "pairs.npz") as pairs, np.load(tmp_path / "folder/truth.npz") as truth:
        for name in truth:
            np.testing.assert_array_equal(pairs[name], truth[name])
        for name in ("reference", "sample"):
            image = tifffile.imread(tmp_path / "folder" / f"{name}_0001.tif")
            np.testing.assert_array_equal(pairs[name][1], image)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["references", "--output", "there.h5"], "there.h5 exists already"),
        (["dataset", "--output", "x.h5"], "required: --references"),
        (["dataset", "--references", "r", "--test", "-1", "--output", "x.h5"], "negative"),
        (["dataset", "--references", "r", "--focusing", "2", "--output", "x.h5"], "from 0 to 1"),
        (["references", "--set", "best", "--output", "x.h5"], "invalid choice"),
        (["references", "--workers", "0", "--output", "x.h5"], "must be at least 1"),
        (["phantom", "--output", "."], ". exists already"),
        (["references", "--output", "x.npz"], "must have .h5"),
        (["pairs", "--output", "x.h5"], "must have .npz or no ending"),
        (
            ["phantom", "--kind", "sine", "--shape", "64", "64", "--output", "x"],
            "use a wider frame",
        ),
        (["pairs", "--transmission", "0", "1", "--output", "x"], "--transmission: needs 0 < LOW"),
        (["pairs", "--visibility", "0.4", "0.2", "--output", "x"], "--visibility: needs 0 < LOW"),
        (["pairs", "--seed", "-1", "--output", "x"], "--seed must not be negative"),
        (["pairs", "--shape", "4", "4", "--count", "0", "--output", "x"], "must be at least 1"),
    ],
)
def test_wrong_use(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.h5").write_text("precious")
    assert simulate(*words) == 2
    assert complaint in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.h5"]
    assert Path("there.h5").read_text() == "precious"


@pytest.mark.parametrize(
    ("references", "complaint"),
    [("none.h5", "none.h5: no such file"), ("text.h5", "text.h5: damaged, or no cade pattern set")],
)
def test_references_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], references: str, complaint: str
) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    words = ["dataset", "--references", tmp_path / references, "--output", tmp_path / "x.h5"]
    assert simulate(*words) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert [path.name for path in tmp_path.iterdir()] == ["text.h5"]


def test_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "pairs"
    assert simulate("pairs", "--count", 1, "--shape", 16, 16, "--output", output) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "pairs: cannot be written (Not a directory)" in line
