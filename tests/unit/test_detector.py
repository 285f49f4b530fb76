"""The detector's own images: out of files and start messages, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import structlog
import tifffile
from numpy.typing import NDArray

from cade.errors import CadeError, UsageError
from cade.frames import SeriesStart
from daemon.correction.detector import Detector, load_detector
from daemon.correction.detector_maps import read_map
from daemon.settings import DetectorSettings

SHAPE = (4, 6)
MASK = np.zeros(SHAPE, np.uint8)
MASK[1, 2] = 8


def save(path: Path, image: NDArray[Any], place: str = "entry/data/data") -> Path:
    if path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            file[place] = image
    else:
        tifffile.imwrite(path, image, photometric="minisblack")
    return path


def detector(tmp_path: Path, **settings: Any) -> Detector:
    for name in ("mask", "gain", "flatfield"):
        if isinstance(settings.get(name), np.ndarray):
            settings[name] = save(tmp_path / f"{name}.npy", settings[name])
    return load_detector(DetectorSettings(**settings))


def factor(found: Detector) -> NDArray[np.float32]:
    assert found.factor is not None
    return found.factor


@pytest.mark.parametrize("name", ["m.tif", "m.npy", "m.h5"])
@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "?"])
def test_a_mask_of_every_kind(tmp_path: Path, name: str, dtype: str) -> None:
    found = detector(tmp_path, mask=save(tmp_path / name, MASK.astype(dtype)))
    assert np.argwhere(np.isnan(factor(found))).tolist() == [[1, 2]]
    assert np.nansum(factor(found)) == 23
    assert [(p.name, p.value) for p in found.parameters] == [("mask", str(tmp_path / name))]


def test_nan_in_a_mask_is_bad(tmp_path: Path) -> None:
    mask = MASK.astype("f4")
    mask[1, 2] = np.nan
    assert np.isnan(factor(detector(tmp_path, mask=mask))[1, 2])


@pytest.mark.parametrize(
    "place",
    [
        "entry/instrument/detector/pixel_mask",
        "entry/instrument/detector/detectorSpecific/pixel_mask",
        "mask",
    ],
)
def test_the_mask_beside_the_images(tmp_path: Path, place: str) -> None:
    """A DECTRIS master file, and files of one's own."""
    path = save(tmp_path / "m.h5", MASK, place)
    if place.startswith("entry"):
        save(path, np.ones((7, *SHAPE), "u2"))
    np.testing.assert_array_equal(read_map(path, "mask"), MASK)


def test_gain_divides_and_the_flat_field_multiplies(tmp_path: Path) -> None:
    gain, flatfield = np.full(SHAPE, 4.0), np.full(SHAPE, 1.5)
    assert factor(detector(tmp_path, gain=gain))[0, 0] == 0.25
    assert factor(detector(tmp_path, flatfield=flatfield))[0, 0] == 1.5
    both = detector(tmp_path, gain=gain, flatfield=flatfield, mask=MASK)
    assert factor(both)[0, 0] == 0.375
    assert np.isnan(factor(both)[1, 2])
    assert [p.name for p in both.parameters] == ["mask", "gain", "flatfield"]


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["gain", "flatfield"])
def test_a_gain_that_makes_no_number(tmp_path: Path, name: str, value: float) -> None:
    image = np.ones(SHAPE)
    image[2, 3] = value
    with structlog.testing.capture_logs() as log:
        found = detector(tmp_path, **{name: image})
    assert np.argwhere(~np.isfinite(factor(found))).tolist() == [[2, 3]]
    [line] = log
    assert (line["event"], line["pixels"]) == (f"pixels without a {name} are invalid", 1)
    assert line["file"].endswith(f"{name}.npy")
    with pytest.raises(CadeError, match=rf"detector\.{name}: .*{name}.npy: it leaves no valid pix"):
        detector(tmp_path, **{name: np.full(SHAPE, value)})


def test_a_mask_of_everything(tmp_path: Path) -> None:
    full = np.ones(SHAPE, "u1")
    with pytest.raises(CadeError, match=r"mask\.npy: it leaves no valid pixel; name another file"):
        detector(tmp_path, mask=full)
    full[0, 0] = 0
    detector(tmp_path, mask=full)
    with pytest.raises(CadeError, match="it leaves no valid pixel"):  # in the region
        detector(tmp_path, mask=full, roi=(1, 4, 0, 6))
    with pytest.raises(CadeError, match="it leaves no valid pixel"):  # together
        detector(tmp_path, mask=full, gain=np.where(full == 0, np.nan, 1.0))


def test_files_of_different_shapes(tmp_path: Path) -> None:
    with pytest.raises(CadeError, match=r"detector\.gain: .*\(4, 5\), that of mask \(4, 6\)"):
        detector(tmp_path, mask=MASK, gain=np.ones((4, 5)))


def test_a_region_beyond_the_mask_is_said_before_the_first_frame(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"detector\.roi = \[0, 5, 0, 6\] reaches beyond"):
        detector(tmp_path, mask=MASK, roi=(0, 5, 0, 6))
    with pytest.raises(UsageError, match=r"binning = 5 leaves nothing"):
        detector(tmp_path, mask=MASK, binning=5)
    detector(tmp_path, mask=MASK, roi=(0, 5, 0, 4), rotation_deg=90)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.tif", None, "does not exist"),
        ("gone.npy", None, "does not exist"),
        ("gone.h5", None, "does not exist"),
        ("broken.tif", b"no picture", "cannot be read"),
        ("broken.npy", b"no numbers", "cannot be read"),
        ("broken.h5", b"no file", "does not begin as HDF5"),
        ("text.txt", b"0 0 1", "is not a file that can be read"),
        ("three.npy", np.zeros((3, 4, 6)), "holds several images; name a file with one"),
        ("three.tif", np.zeros((3, 4, 6), "u1"), "holds several images"),
        ("none.npy", np.zeros((0, 4, 6)), "holds no image"),
        ("line.npy", np.zeros(6), "is no image"),
        ("complex.npy", np.zeros(SHAPE, complex), "is no image"),
        ("objects.npy", np.array([["a", "b"]]), "is no image"),
    ],
)  # fmt: skip
def test_files_that_are_no_mask(tmp_path: Path, name: str, content: Any, words: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save(path, content)
    with pytest.raises(CadeError) as caught:
        detector(tmp_path, mask=path)
    text = str(caught.value)
    assert text.startswith("detector.mask: ")
    assert str(path) in text
    assert words in text
    assert "\n" not in text


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(CadeError, match="cannot be read"):
        detector(tmp_path, mask=tmp_path / "m.npy")


def test_frames_of_another_shape(tmp_path: Path) -> None:
    found = detector(tmp_path, mask=MASK)
    assert found.problem(SHAPE) == ""
    problem = found.problem((4, 7))
    assert problem.startswith(
        f"detector.mask ({tmp_path}/mask.npy) has shape (4, 6), the frame (4,"
    )
    assert Detector().problem((4, 7)) == ""


def test_bad_pixels_of_the_region(tmp_path: Path) -> None:
    found = detector(tmp_path, mask=MASK, roi=(1, 3, 0, 6)).bad(SHAPE)
    assert found is not None
    assert np.argwhere(found).tolist() == [[0, 2]]
    assert detector(tmp_path, mask=MASK, roi=(2, 3, 0, 6)).bad(SHAPE) is None
    assert Detector().bad(SHAPE) is None


# ---------------------------------------------------------------- start messages


def start(**images: Any) -> SeriesStart:
    return SeriesStart("7", 0.0, shape=SHAPE, **images)


def test_the_start_message_adds_a_mask_and_a_flat_field(tmp_path: Path) -> None:
    stated = np.zeros(SHAPE, "u4")
    stated[3, 3] = 1 << 8
    message = start(pixel_mask=stated, flatfield=np.full(SHAPE, 2.0, "f4"))
    found = detector(tmp_path, mask=MASK).with_start(message)
    assert np.argwhere(np.isnan(factor(found))).tolist() == [[1, 2], [3, 3]]
    assert factor(found)[0, 0] == 2
    assert {p.name: p.value for p in found.parameters} == {
        "mask": f"{tmp_path}/mask.npy and start message", "flatfield": "start message",
    }  # fmt: skip


def test_a_flat_field_counts_once(tmp_path: Path) -> None:
    message = start(flatfield=np.full(SHAPE, 2.0), flatfield_applied=True)
    assert Detector().with_start(message).factor is None
    own = detector(tmp_path, flatfield=np.full(SHAPE, 3.0))
    assert factor(own.with_start(start(flatfield=np.full(SHAPE, 2.0))))[0, 0] == 3


def test_a_start_message_without_images_changes_nothing(tmp_path: Path) -> None:
    found = detector(tmp_path, mask=MASK)
    assert found.with_start(start()) is found


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({"pixel_mask": np.zeros((4, 5))}, r"its shape is (4, 5), that of the images (4, 6)"),
        ({"pixel_mask": np.ones(SHAPE)}, "it leaves no valid pixel"),
        ({"flatfield": np.zeros(SHAPE)}, "it leaves no valid pixel"),
    ],
)
def test_calibration_that_does_not_fit_is_left_out(images: Any, words: str) -> None:
    with structlog.testing.capture_logs() as log:
        found = Detector().with_start(start(**images))
    assert found.factor is None
    [line] = log
    assert line["problem"] == words
    assert line["log_level"] == "warning"
