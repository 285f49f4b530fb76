"""`cade process`: files in, one file out, and what it says when something is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the bitshuffle filter
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from daemon.commands import main
from tests.daemon_process import rejected_in
from tests.speckle import SHAPE, counts, moved, speckle

OPTICS = ("--energy-kev", "30", "--distance-m", "2", "--pixel-um", "10")
SHIFT = (0.3, -0.2)


class Desk:
    """A folder with files, and the command run in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.output = folder / "out.h5"
        self.errors: list[str] = []
        self.said = ""

    def save(self, name: str, data: NDArray[Any]) -> str:
        """Write a TIFF or .npy."""
        path = self.folder / name
        if path.suffix == ".npy":
            np.save(path, data)
        else:
            tifffile.imwrite(path, data, photometric="minisblack")
        return str(path)

    def process(self, reference: list[str], sample: list[str], *words: str) -> int:
        code = main([
            "process", "--reference", *reference, "--sample", *sample, "--output", str(self.output),
            "--tracker", "zncc", "--window", "11", "--device", "cpu", *words,
        ])  # fmt: skip
        captured = self._capsys.readouterr()
        self.said = captured.out
        self.errors = [line.removeprefix("cade: ") for line in captured.err.splitlines()]
        return code

    def shift(self) -> tuple[list[float], list[float]]:
        """Median displacement of every row."""
        with h5py.File(self.output) as file:
            x, y = (
                np.nanmedian(file["entry/displacement"][name][()], axis=(1, 2)).round(2).tolist()
                for name in "xy"
            )
        return x, y


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


@pytest.fixture
def reference(desk: Desk) -> list[str]:
    return [desk.save("ref.tif", counts(speckle()))]


@pytest.fixture
def sample(desk: Desk) -> list[str]:
    return [desk.save("sample.tif", counts(moved(speckle(), *SHIFT)))]


def test_every_sample_is_a_row(desk: Desk, reference: list[str]) -> None:
    stack = np.stack([counts(moved(speckle(), 0.1 * n, 0)) for n in range(5)])
    samples = [desk.save("a.tif", stack[:2]), desk.save("b.npy", stack[2:])]
    assert desk.process(reference, samples, *OPTICS) == 0
    assert (desk.errors, desk.said) == ([], f"{desk.output}: 5 rows\n")
    assert desk.shift()[0] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.04)
    with h5py.File(desk.output) as file:
        assert file["entry/phase/phase"].shape == (5, *SHAPE)
        assert file["entry/frames/image_id"][()].tolist() == [0, 1, 2, 3, 4]
        assert file["entry/displacement/x"].attrs["units"] == "px"


def test_several_references_are_averaged(desk: Desk, sample: list[str]) -> None:
    """Noise of single references is far above the speckle."""
    rng = np.random.default_rng(1)
    noisy = [counts(speckle() + 600 + rng.normal(0, 400, SHAPE)) for _ in range(24)]
    files = [desk.save("r0.npy", np.stack(noisy[:12])), desk.save("r1.tif", np.stack(noisy[12:]))]
    assert desk.process(files, sample, "--displacement-only") == 0
    x, y = desk.shift()
    assert (x[0], y[0]) == pytest.approx(SHIFT, abs=0.06)


def test_rejected_samples_are_listed_and_the_others_written(
    desk: Desk, reference: list[str], sample: list[str]
) -> None:
    good = counts(moved(speckle(), *SHIFT))
    nan = good.astype("f4")
    nan[:30] = np.nan
    cut = Path(desk.save("cut.tif", good))
    cut.write_bytes(cut.read_bytes()[:5000])
    bad = [
        desk.save("small.tif", good[:-1]),
        desk.save("zero.tif", np.zeros_like(good)),
        desk.save("full.tif", np.where(good > 1100, 65535, good).astype("u2")),
        desk.save("nan.tif", nan),
        str(cut),
        f"{desk.folder}/gone.h5",
    ]
    assert desk.process(reference, [bad[0], *sample, *bad[1:], *sample], *OPTICS) == 1
    assert desk.said == f"{desk.output}: 2 rows\n"
    reasons = ["wrong_shape", "empty", "saturated", "too_many_invalid", "unreadable", "unreadable"]
    numbers = [0, 2, 3, 4, 5, 6]
    assert rejected_in(desk.output) == list(zip(numbers, reasons, strict=True))
    for line, path, number, reason in zip(desk.errors, bad, numbers, reasons, strict=True):
        assert line.startswith(f"{path}: frame {number} rejected ({reason}): ")
    assert desk.errors[0].endswith(f"shape is ({SHAPE[0] - 1}, {SHAPE[1]}), the series has {SHAPE}")
    assert desk.errors[-1].endswith("does not exist")
    with h5py.File(desk.output) as file:
        assert file["entry/frames/image_id"][()].tolist() == [1, 7]


def test_no_sample_at_all(desk: Desk, reference: list[str]) -> None:
    empty = [desk.save("zero.tif", np.zeros(SHAPE, "u2"))]
    preview = desk.folder / "a.png"
    assert desk.process(reference, empty, *OPTICS, "--preview", str(preview)) == 1
    assert desk.said == f"{desk.output}: 0 rows\n"
    assert not preview.exists()


def test_numbers_of_another_type_than_the_reference(desk: Desk, reference: list[str]) -> None:
    image = moved(speckle(), *SHIFT)
    samples = [desk.save(f"{t}.tif", counts(image, t)) for t in ("uint16", "float32", "uint32")]
    samples.append(desk.save("big.npy", counts(image).astype(">u2")))
    samples.append(desk.save("double.npy", image))
    assert desk.process(reference, samples, "--displacement-only") == 0
    x, y = desk.shift()
    assert x == pytest.approx([SHIFT[0]] * 5, abs=0.03)
    assert y == pytest.approx([SHIFT[1]] * 5, abs=0.03)


def test_nan_pixels_are_masked(desk: Desk, reference: list[str]) -> None:
    image = moved(speckle(), *SHIFT).astype("f4")
    image[10:14, 20:25] = np.nan
    assert desk.process(reference, [desk.save("s.tif", image)], *OPTICS) == 0
    with h5py.File(desk.output) as file:
        for name in ("displacement/x", "phase/phase", "transmission/transmission"):
            row = file[f"entry/{name}"][0]
            assert np.isnan(row[10:14, 20:25]).all()
            assert np.isfinite(row[40:60, 40:60]).all()


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ((), "no energy_ev (--energy-kev), no distance_m (--distance-m), no pixel_size_m (--pixel"),
        (OPTICS[:4], "no pixel_size_m (--pixel-um): give the option, set it in [geometry]"),
    ],
)
def test_incomplete_geometry(
    desk: Desk, reference: list[str], sample: list[str], given: tuple[str, ...], missing: str
) -> None:
    assert desk.process(reference, sample, *given) == 2
    [line] = desk.errors
    assert line.startswith(missing)
    assert "--displacement-only" in line
    assert not desk.output.exists()
    assert desk.process(reference, sample, *given, "--displacement-only") == 0
    with h5py.File(desk.output) as file:
        assert not {"refraction", "phase"} & set(file["entry"])


def hdf5(path: Path, image: NDArray[Any], **values: tuple[float, str]) -> str:
    """A NeXus file with metadata `name: (value, units)`."""
    places = {
        "energy": "instrument/beam/incident_energy",
        "pixel": "instrument/detector/x_pixel_size",
        "distance": "instrument/detector/distance",
        "source": "instrument/source/distance",
    }
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = image
        for name, (value, units) in values.items():
            file[f"entry/{places[name]}"] = value
            file[f"entry/{places[name]}"].attrs["units"] = units
    return str(path)


METADATA = {"energy": (30.0, "keV"), "pixel": (10.0, "um"), "distance": (2000.0, "mm")}


def energy_and_step(path: Path) -> tuple[float, float]:
    with h5py.File(path) as file:
        x = file["entry/phase/x"][()]
        energy = file["entry/instrument/beam/incident_energy"][()]
    return float(energy), float(x[1] - x[0])


@pytest.mark.parametrize("first", ["good", "cut", "tiff"])
def test_geometry_of_the_files_metadata(desk: Desk, reference: list[str], first: str) -> None:
    """A first file that says nothing, or cannot be read, does not hide what the others say."""
    image = counts(moved(speckle(), *SHIFT))
    good = hdf5(desk.folder / "s.h5", image, **METADATA, source=(-2.0, "m"))
    files = [good]
    if first == "cut":
        (desk.folder / "cut.h5").write_bytes(Path(good).read_bytes()[:3000])
        files.insert(0, f"{desk.folder}/cut.h5")
    elif first == "tiff":
        files.insert(0, desk.save("first.tif", image))
    assert desk.process(reference, files) == (1 if first == "cut" else 0)
    energy, step_m = energy_and_step(desk.output)
    assert step_m == pytest.approx(10e-6 / 2)  # magnified twice
    assert energy == pytest.approx(30e3)


def test_options_win_over_metadata(desk: Desk, reference: list[str]) -> None:
    file = hdf5(desk.folder / "s.h5", counts(speckle()), **METADATA)
    assert desk.process(reference, [file], "--energy-kev", "20") == 0
    energy, step_m = energy_and_step(desk.output)
    assert (energy, step_m) == pytest.approx((20e3, 10e-6))


def test_metadata_that_nobody_understands(desk: Desk, reference: list[str]) -> None:
    wrong = METADATA | {"distance": (2.0, "furlong")}
    file = hdf5(desk.folder / "s.h5", counts(speckle()), **wrong)
    assert desk.process(reference, [file]) == 1
    [line] = desk.errors
    assert line.startswith(f"{file}: gives instrument/detector/distance in 'furlong'")
    assert desk.process(reference, [file], *OPTICS) == 0, "the options make it unnecessary"


# ---------------------------------------------------------------- references, flats, darks


def test_flat_and_dark(desk: Desk) -> None:
    """Both frames carry the detector's structure, which does not move."""
    structure, dark = speckle(seed=9) / 1000, 200.0
    raw = [structure * image * 5 + dark for image in (speckle(), moved(speckle(), *SHIFT))]
    files = [desk.save(f"{n}.tif", counts(image)) for n, image in enumerate(raw)]
    flat = desk.save("flat.tif", counts(structure * 5000 + dark))
    darks = desk.save("dark.tif", np.full((3, *SHAPE), dark, "u2"))
    words = ("--flat", flat, "--dark", darks, "--displacement-only")
    assert desk.process(files[:1], files[1:], *words) == 0
    x, y = desk.shift()
    assert (x[0], y[0]) == pytest.approx(SHIFT, abs=0.04)
    with h5py.File(desk.output) as file:
        text = str({k: v[()] for k, v in file["entry/process_1_correction/parameters"].items()})
    assert "dark" in text
    assert "flat" in text


@pytest.mark.parametrize("role", ["flat", "dark"])
def test_a_correction_of_another_shape(
    desk: Desk, reference: list[str], sample: list[str], role: str
) -> None:
    file = desk.save("x.tif", counts(speckle())[:-2])
    assert desk.process(reference, sample, "--displacement-only", f"--{role}", file) == 1
    assert desk.errors == [
        f"{file}: the {role} has shape ({SHAPE[0] - 2}, {SHAPE[1]}), the reference {SHAPE}; "
        "take both with the same region of the detector"
    ]
    assert not desk.output.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros(SHAPE, "u2"), "cannot serve as reference (empty: every pixel is 0)"),
        (counts(speckle())[:-2], "cannot serve as reference (reference: frame 1 has shape"),
        (np.full(SHAPE, np.nan), "(too_many_invalid: 100% of the pixels are not numbers)"),
    ],
)
def test_references_that_cannot_be_used(
    desk: Desk, reference: list[str], sample: list[str], data: NDArray[Any], words: str
) -> None:
    file = desk.save("x.npy", data)
    assert desk.process([*reference, file], sample, *OPTICS) == 1
    [line] = desk.errors
    assert line.startswith(f"{file}: ")
    assert words in line
    assert not desk.output.exists()


def test_a_reference_that_is_not_there(desk: Desk, sample: list[str]) -> None:
    assert desk.process([f"{desk.folder}/gone.tif"], sample, *OPTICS) == 1
    assert desk.errors == [f"{desk.folder}/gone.tif: does not exist"]


# ---------------------------------------------------------------- output and picture


def test_an_output_that_exists_is_refused_before_any_work(desk: Desk, sample: list[str]) -> None:
    desk.output.write_text("precious")
    assert desk.process(["no such reference"], sample) == 1
    assert desk.errors == [
        f"{desk.output}: exists and is never overwritten; remove it or name another file"
    ]
    assert desk.output.read_text() == "precious"


def test_an_output_that_cannot_be_written(
    desk: Desk, reference: list[str], sample: list[str]
) -> None:
    desk.output = Path(sample[0]) / "out.h5"
    assert desk.process(reference, sample, *OPTICS) == 1
    [line] = desk.errors
    assert line.startswith(f"{sample[0]}: cannot be written (Not a directory); set --output to")


def test_preview_shows_the_sample_of_the_first_row(desk: Desk) -> None:
    """The first file may have been rejected. Wide frames are stacked in few columns."""
    shape = (64, 400)
    image = speckle(shape)
    reference = [desk.save("r.tif", counts(image))]
    samples = [desk.save("zero.tif", np.zeros(shape, "u2")), desk.save("s.tif", counts(image))]
    preview = desk.folder / "a.png"
    assert desk.process(reference, samples, *OPTICS, "--preview", str(preview)) == 1
    with Image.open(preview) as picture:
        width, height = picture.size
        pixels = np.asarray(picture.convert("L"), float)
    assert width > 1200
    assert height > 500
    assert pixels[40:100, 20:600].std() > 30, "speckle, not an empty frame"


@pytest.mark.parametrize(
    ("path", "words"), [("a.jpg", "must end in .png"), ("gone/a.png", "there is no folder")]
)
def test_a_preview_that_cannot_be(
    desk: Desk, reference: list[str], sample: list[str], path: str, words: str
) -> None:
    preview = str(desk.folder / path)
    assert desk.process(reference, sample, *OPTICS, "--preview", preview) == 2
    assert words in desk.errors[0]
    assert not desk.output.exists()
