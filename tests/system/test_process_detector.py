"""`cade process` with a detector that is turned, mirrored, cropped, binned and has bad pixels.

The same scene, seen by any detector, gives the same physics; axes and signs are those of what one
sees. Checked against closed forms: a wedge that moves all speckle, and known factors of the beam.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the bitshuffle filter
import numpy as np
import pytest
from numpy.typing import NDArray

from cade.geometry import HC_EV_M
from daemon.commands import main
from tests.speckle import counts, moved, speckle

SHAPE = (128, 144)
PIXEL_M, DISTANCE_M, ENERGY_EV, R1_M = 10e-6, 2.0, 30e3, 3.0
MAGNIFICATION = (R1_M + DISTANCE_M) / R1_M
OPTICS = (
    "--energy-kev", "30", "--distance-m", "2", "--pixel-um", "10", "--source-distance-m", "3",
)  # fmt: skip
SHIFT = (0.6, -0.4)
Tree = dict[str, Any]


def as_sent(scene: NDArray[Any], degrees: int = 0, *, x: bool = False, y: bool = False) -> Any:
    """What a detector sends whose frames show the scene once they are turned, then flipped."""
    scene = scene[::-1] if y else scene
    scene = scene[:, ::-1] if x else scene
    return np.ascontiguousarray(np.rot90(scene, degrees // 90))


class Desk:
    """A folder, and the command run in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self._runs = itertools.count()
        self.errors: list[str] = []
        self.log = ""

    def save(self, name: str, data: NDArray[Any]) -> str:
        np.save(self.folder / name, data)
        return str(self.folder / f"{name}.npy")

    def process(self, reference: str, sample: str, *words: str) -> int:
        self.output = self.folder / f"{next(self._runs)}.h5"
        code = main([
            "process", "--reference", reference, "--sample", sample, "--output", str(self.output),
            "--tracker", "zncc", "--window", "11", "--device", "cpu", *words,
        ])  # fmt: skip
        self.log = self._capsys.readouterr().err
        self.errors = [line for line in self.log.splitlines() if line.startswith("cade: ")]
        return code

    def read(self) -> Tree:
        """The first row of every field, the axes, and what is said about them."""
        with h5py.File(self.output) as file:
            entry = file["entry"]
            found = {
                name: entry[name][0]
                for name in ("displacement/x", "displacement/y", "transmission/transmission",
                             "refraction/x", "refraction/y", "phase/phase")
                if name in entry
            }  # fmt: skip
            axes = "displacement/position_x", "displacement/position_y"
            found |= {name: entry[name][()] for name in axes}
            found |= {f"frames/{k}": v[()] for k, v in entry["frames"].items()}
            entry["instrument/detector"].visititems(
                lambda name, node: (
                    found.update({f"detector/{name}": node[()]})
                    if isinstance(node, h5py.Dataset)
                    else None
                )
            )
            steps = entry["process_1_correction/parameters"]
            return found | {f"correction/{name}": node[()] for name, node in steps.items()}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def pair(desk: Desk, *how: Any, size: int = 1, **flips: bool) -> tuple[str, str]:
    """Files of a detector that is mounted so; grains that so many binned pixels still resolve."""
    scene = speckle(SHAPE, sigma_px=1.3 * size)
    images = (scene, moved(scene, *SHIFT))
    first, second = (
        desk.save(name, as_sent(counts(image), *how, **flips))
        for name, image in zip(("r", "s"), images, strict=True)
    )
    return first, second


WAYS = [
    (0, False, False, ()),
    (90, False, False, ("--rotate", "90")),
    (270, True, False, ("--rotate", "270", "--flip-x")),
    (180, False, True, ("--rotate", "180", "--flip-y")),
    (90, True, True, ("--rotate", "90", "--flip-x", "--flip-y")),
]


@pytest.mark.parametrize(("degrees", "x", "y", "words"), WAYS)
def test_the_same_scene_on_any_detector(
    desk: Desk, degrees: int, x: bool, y: bool, words: tuple[str, ...]
) -> None:
    """All fields are equal to those of a detector that stands upright, number by number."""
    plain = pair(desk)
    assert desk.process(*plain, *OPTICS) == 0
    upright = desk.read()
    assert desk.process(*pair(desk, degrees, x=x, y=y), *OPTICS, *words) == 0
    found = desk.read()
    for name in ("displacement/x", "displacement/y", "phase/phase", "transmission/transmission"):
        np.testing.assert_array_equal(found[name], upright[name])
    np.testing.assert_array_equal(
        found["displacement/position_x"], upright["displacement/position_x"]
    )
    assert np.nanmedian(found["displacement/x"]) == pytest.approx(SHIFT[0], abs=0.03)
    assert np.nanmedian(found["displacement/y"]) == pytest.approx(SHIFT[1], abs=0.03)
    assert found["detector/mounting/rotation"] == degrees
    assert (found["detector/mounting/flip_x"], found["detector/mounting/flip_y"]) == (x, y)


def test_without_saying_so_the_signs_are_the_detectors(desk: Desk) -> None:
    """Turned clockwise by 90 degrees to stand upright: what is right of the scene is its top."""
    assert desk.process(*pair(desk, 90), "--displacement-only") == 0
    found = desk.read()
    assert np.nanmedian(found["displacement/x"]) == pytest.approx(SHIFT[1], abs=0.03)
    assert np.nanmedian(found["displacement/y"]) == pytest.approx(-SHIFT[0], abs=0.03)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_a_wedge_refracts_the_same_whatever_the_pixels(desk: Desk, size: int, mode: str) -> None:
    """Closed form: α = u p/d, and a phase that rises by (2π/λ) α with the file's own axes."""
    files = pair(desk, 90, size=size, x=True)
    words = ("--rotate", "90", "--flip-x", "--roi", "10", "117", "20", "140")
    binning = ("--binning", str(size), "--binning-mode", mode)
    assert desk.process(*files, *OPTICS, *words, *binning) == 0
    found = desk.read()
    height, width = found["phase/phase"].shape
    assert (height, width) == (107 // size, 120 // size)
    slope = 2 * math.pi * ENERGY_EV / HC_EV_M
    tolerance = 0.05 * PIXEL_M / DISTANCE_M
    for axis, (name, moved_px) in enumerate(zip("yx", SHIFT[::-1], strict=True)):
        angle_rad = moved_px * PIXEL_M / DISTANCE_M
        assert np.nanmedian(found[f"displacement/{name}"]) * size == pytest.approx(
            moved_px, abs=0.05
        )
        assert np.nanmedian(found[f"refraction/{name}"]) == pytest.approx(angle_rad, abs=tolerance)
        position_m = found[f"displacement/position_{name}"]
        rise = np.gradient(found["phase/phase"], position_m, axis=axis)
        assert np.nanmedian(rise) == pytest.approx(slope * angle_rad, abs=slope * tolerance)


def test_coordinates_are_those_of_the_mounted_image(desk: Desk) -> None:
    """Rows 10 … 116 and columns 20 … 139 in threes: the first pixel is centred on (11, 21)."""
    files = pair(desk, 90, x=True)
    words = ("--rotate", "90", "--flip-x", "--roi", "10", "117", "20", "140", "--binning", "3")
    assert desk.process(*files, *OPTICS, *words) == 0
    found = desk.read()
    pitch_m = PIXEL_M / MAGNIFICATION
    x_m, y_m = found["displacement/position_x"], found["displacement/position_y"]
    np.testing.assert_allclose(x_m, (21 + 3 * np.arange(40)) * pitch_m)
    np.testing.assert_allclose(y_m, (11 + 3 * np.arange(35)) * pitch_m)
    middle_px = (SHAPE[1] - 1) / 2
    np.testing.assert_allclose(
        found["detector/x_pixel_offset"], (21 + 3 * np.arange(40) - middle_px) * PIXEL_M, atol=1e-15
    )
    assert found["detector/x_pixel_size"] == pytest.approx(3 * PIXEL_M)
    assert (found["detector/binning_x"], found["detector/binning_y"]) == (3, 3)
    assert found["detector/mounting/roi"].tolist() == [10, 115, 20, 140]
    assert found["detector/mounting/frame_shape"].tolist() == [SHAPE[1], SHAPE[0]]


def test_without_geometry_coordinates_are_pixels_of_the_mounted_image(desk: Desk) -> None:
    words = ("--roi", "10", "116", "20", "140", "--binning", "2", "--displacement-only")
    assert desk.process(*pair(desk), *words) == 0
    np.testing.assert_allclose(desk.read()["displacement/position_y"], 10.5 + 2 * np.arange(53))


def test_a_bad_pixel_is_where_the_axes_say(desk: Desk) -> None:
    """A block of 4 x 4 bad pixels of the scene at (60, 80), on a turned and binned detector."""
    bad = np.zeros(SHAPE, "u1")
    bad[60:64, 80:84] = 1
    mask = desk.save("mask", as_sent(bad, 270, y=True))
    words = ("--rotate", "270", "--flip-y", "--roi", "20", "120", "40", "140", "--binning", "2")
    files = pair(desk, 270, size=2, y=True)
    assert desk.process(*files, "--mask", mask, "--displacement-only", *words) == 0
    found = desk.read()
    rows, columns = np.nonzero(np.isnan(found["displacement/x"][10:-10, 10:-10]))
    assert set(found["displacement/position_y"][rows + 10]) >= {60.5, 62.5}
    assert set(found["displacement/position_x"][columns + 10]) >= {80.5, 82.5}
    for axis, name, middle in ((rows, "y", 61.5), (columns, "x", 81.5)):
        found_px = found[f"displacement/position_{name}"][axis + 10]
        assert found_px.mean() == pytest.approx(middle, abs=1)
        assert np.abs(found_px - middle).max() < 6
    assert found["correction/mask"].decode() == mask


def test_saturated_pixels_are_invalid_in_both_frames(desk: Desk) -> None:
    scene = speckle(SHAPE)
    reference, sample = counts(scene), counts(moved(scene, *SHIFT))
    reference[40:42, 50:52] = 60000
    sample[90:92, 100:102] = 65535
    files = desk.save("r", reference), desk.save("s", sample)
    assert desk.process(*files, "--displacement-only", "--saturation", "60000") == 0
    invalid = np.isnan(desk.read()["displacement/x"])
    assert invalid[40:42, 50:52].all()
    assert invalid[90:92, 100:102].all()
    assert not invalid[60:80, 20:40].any()


def test_a_gain_map_is_divided_out(desk: Desk) -> None:
    scene, gain = speckle(SHAPE), speckle(SHAPE, seed=3) / 1000
    images = [image * gain * 8 for image in (scene, moved(scene, *SHIFT))]
    files = [desk.save(n, counts(image)) for n, image in zip("rs", images, strict=True)]
    assert desk.process(*files, "--displacement-only") == 0
    assert abs(np.nanmedian(desk.read()["displacement/x"]) - SHIFT[0]) > 0.1
    assert desk.process(*files, "--displacement-only", "--gain", desk.save("g", gain)) == 0
    assert np.nanmedian(desk.read()["displacement/x"]) == pytest.approx(SHIFT[0], abs=0.03)
    words = ("--displacement-only", "--flatfield", desk.save("f", 1 / gain))
    assert desk.process(*files, *words) == 0
    assert np.nanmedian(desk.read()["displacement/x"]) == pytest.approx(SHIFT[0], abs=0.03)


# ---------------------------------------------------------------- transmission


def absorbed(desk: Desk, share: float) -> tuple[str, str]:
    """A sample that lets this share of the light through below row 64, behind a beam of 80 %."""
    scene = speckle(SHAPE) * 10
    light = np.where(np.arange(SHAPE[0])[:, None] < 64, 0.8, 0.8 * share)
    return desk.save("r", counts(scene)), desk.save("s", counts(moved(scene, 0, 0) * light))


def halves(desk: Desk) -> tuple[float, float]:
    transmission = desk.read()["transmission/transmission"]
    return float(np.nanmedian(transmission[:40])), float(np.nanmedian(transmission[-40:]))


def test_nothing_known_of_the_beam(desk: Desk) -> None:
    assert desk.process(*absorbed(desk, 0.5), "--displacement-only") == 0
    assert halves(desk) == pytest.approx((0.8, 0.4), rel=0.01)
    found = desk.read()
    assert found["correction/transmission_normalised_by"] == b"none"
    assert np.isnan(found["frames/transmission_scale"]).all()
    assert np.isnan(found["frames/monitor"]).all()


def test_monitor_values(desk: Desk) -> None:
    words = ("--displacement-only", "--reference-monitor", "250", "--sample-monitor", "200")
    assert desk.process(*absorbed(desk, 0.5), *words) == 0
    assert halves(desk) == pytest.approx((1.0, 0.5), rel=0.01)
    found = desk.read()
    assert found["correction/transmission_normalised_by"] == b"monitor"
    assert found["frames/monitor"].tolist() == [200.0]
    assert found["frames/reference_monitor"].tolist() == [250.0]
    assert found["frames/transmission_scale"].tolist() == [1.25]


def test_monitors_of_nexus_files(desk: Desk) -> None:
    """NXmonitor, one value a frame; a frame without a usable one stays as it is."""
    names = absorbed(desk, 0.5)
    reference, sample = (np.load(name) for name in names)
    for name, images, monitors in (
        ("r.h5", [reference, reference], [240.0, 260.0]),
        ("s.h5", [sample] * 3, [200.0, 0.0, 100.0]),
    ):
        with h5py.File(desk.folder / name, "w") as file:
            file["entry/data/data"], file["entry/control/data"] = np.stack(images), monitors
    files = (f"{desk.folder}/r.h5", f"{desk.folder}/s.h5")
    assert desk.process(*files, "--displacement-only") == 0
    np.testing.assert_array_equal(desk.read()["frames/transmission_scale"], [1.25, np.nan, 2.5])
    assert halves(desk) == pytest.approx((1.0, 0.5), rel=0.01)


def test_free_air(desk: Desk) -> None:
    """It is named in pixels of the mounted image, whatever region of it is processed."""
    reference, sample = (np.load(name) for name in absorbed(desk, 0.5))
    files = desk.save("rt", as_sent(reference, 90)), desk.save("st", as_sent(sample, 90))
    words = ("--rotate", "90", "--roi", "20", "128", "0", "144", "--binning", "2")
    free = ("--free-air", "20", "50", "10", "130")
    assert desk.process(*files, "--displacement-only", *words, *free) == 0
    found = desk.read()
    assert found["correction/transmission_normalised_by"] == b"free_air"
    assert found["frames/transmission_scale"] == pytest.approx([1.25], rel=0.01)
    transmission = found["transmission/transmission"]
    assert float(np.nanmedian(transmission[:15])) == pytest.approx(1, abs=0.002)
    assert float(np.nanmedian(transmission[-15:])) == pytest.approx(0.5, rel=0.01)


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--roi", "0", "129", "0", "144"), 1, "detector.roi = [0, 129, 0, 144] reaches beyond"),
        (("--roi", "5", "5", "0", "9"), 2, "must be [y0, y1, x0, x1] with 0 <= y0 < y1"),
        (("--roi", "0", "4", "0", "4", "--binning", "5"), 2, "is smaller than one bin"),
        (("--binning", "0"), 2, "detector.binning"),
        (("--saturation", "-3"), 2, "detector.saturation_value"),
        (("--saturation", "nan"), 2, "detector.saturation_value"),
        (("--binning", "129"), 1, "detector.binning = 129 leaves nothing"),
        (("--rotate", "45"), 2, "argument --rotate"),
        (("--mask", "gone.tif"), 1, "detector.mask: gone.tif: does not exist"),
        (("--sample-monitor", "0"), 2, "--sample-monitor: must be a positive number, not 0"),
        (("--reference-monitor", "nan"), 2, "--reference-monitor: must be a positive number"),
        (
            ("--free-air", "0", "9", "0", "9", "--roi", "20", "100", "0", "144"), 2,
            "transmission.free_air = [0, 9, 0, 9] lies outside detector.roi",
        ),
    ],
)  # fmt: skip
def test_wrong_words(desk: Desk, words: tuple[str, ...], code: int, said: str) -> None:
    assert desk.process(*pair(desk), "--displacement-only", *words) == code
    assert said in desk.log
    assert "Traceback" not in desk.log
    assert not desk.output.exists()


@pytest.mark.parametrize(
    ("option", "image", "said"),
    [
        ("--mask", np.zeros((3, 4)), "has shape (3, 4), the frame (128, 144)"),
        ("--mask", np.ones(SHAPE), "it leaves no valid pixel"),
        ("--gain", np.zeros(SHAPE), "it leaves no valid pixel"),
        ("--gain", np.full(SHAPE, -2.0), "it leaves no valid pixel"),
        ("--flat", np.zeros(SHAPE, "u2"), "cannot serve as flat (empty: every pixel is 0)"),
        ("--flat", -np.arange(128 * 144.0).reshape(SHAPE), "the flat holds no light above the d"),
    ],
)
def test_wrong_images(desk: Desk, option: str, image: NDArray[Any], said: str) -> None:
    words = ("--displacement-only", option, desk.save("x", image))
    assert desk.process(*pair(desk), *words) == 1
    assert len(desk.errors) == 1
    assert said in desk.errors[0]
    assert "Traceback" not in desk.log
    assert not desk.output.exists()


def test_the_preview_shows_what_was_processed(desk: Desk) -> None:
    from PIL import Image

    preview = desk.folder / "a.png"
    words = ("--rotate", "90", "--binning", "2", "--preview", str(preview))
    assert desk.process(*pair(desk, 90), "--displacement-only", *words) == 0
    with Image.open(preview) as picture:
        assert picture.size[0] > 200
