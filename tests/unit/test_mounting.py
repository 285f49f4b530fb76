"""Rotation, flips, region of interest, binning: against NumPy, and where pixels end up."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cade.geometry import Geometry
from daemon.correction.mounting import Mounting, mounting
from daemon.settings import DetectorSettings

SHAPE = (6, 9)
FRAME = np.arange(54, dtype=np.float32).reshape(SHAPE)
EVERY_WAY = list(itertools.product((0, 90, 180, 270), (False, True), (False, True)))


def image(found: Mounting, frame: NDArray[Any] = FRAME) -> NDArray[Any]:
    """What the daemon makes of a frame."""
    part = found.part((frame.shape[0], frame.shape[1]))
    return found.mounted(torch.from_numpy(frame[part].astype("f4"))).numpy()


def turned(frame: NDArray[Any], degrees: int, flip_x: bool, flip_y: bool) -> NDArray[Any]:
    frame = np.rot90(frame, -degrees // 90)
    frame = frame[:, ::-1] if flip_x else frame
    return frame[::-1] if flip_y else frame


def test_rotation_is_clockwise_on_the_screen() -> None:
    """What was at the top is on the right."""
    frame = np.array([[1, 2, 3], [0, 0, 0]])
    assert image(Mounting(90), frame).tolist() == [[0, 1], [0, 2], [0, 3]]
    assert image(Mounting(180), frame).tolist() == [[0, 0, 0], [3, 2, 1]]
    assert image(Mounting(270), frame).tolist() == [[3, 0], [2, 0], [1, 0]]


def test_flips_come_after_the_rotation() -> None:
    frame = np.array([[1, 2, 3], [0, 0, 0]])
    assert image(Mounting(flip_x=True), frame).tolist() == [[3, 2, 1], [0, 0, 0]]
    assert image(Mounting(flip_y=True), frame).tolist() == [[0, 0, 0], [1, 2, 3]]
    assert image(Mounting(90, flip_x=True), frame).tolist() == [[1, 0], [2, 0], [3, 0]]


@pytest.mark.parametrize(("degrees", "flip_x", "flip_y"), EVERY_WAY)
def test_every_way_of_mounting(degrees: Any, flip_x: bool, flip_y: bool) -> None:
    """The region counts pixels of the turned and flipped image; only what it needs is taken."""
    whole = turned(FRAME, degrees, flip_x, flip_y)
    plain = Mounting(degrees, flip_x, flip_y)
    np.testing.assert_array_equal(image(plain), whole)
    assert plain.image_shape(SHAPE) == whole.shape
    cropped = Mounting(degrees, flip_x, flip_y, roi=(1, 5, 2, 6))
    np.testing.assert_array_equal(image(cropped), whole[1:5, 2:6])
    assert FRAME[cropped.part(SHAPE)].size == 16
    binned = Mounting(degrees, flip_x, flip_y, roi=(1, 6, 0, 5), binning=2)
    used = whole[1:5, 0:4].reshape(2, 2, 2, 2)
    np.testing.assert_allclose(image(binned), used.mean(axis=(1, 3)))
    assert binned.image_shape(SHAPE) == (2, 2)


@pytest.mark.parametrize(("degrees", "flip_x", "flip_y"), EVERY_WAY)
def test_coordinates_are_those_of_the_mounted_image(
    degrees: Any, flip_x: bool, flip_y: bool
) -> None:
    """Frames that show their own mounted coordinates come out as the axes say."""
    height, width = turned(FRAME, degrees, flip_x, flip_y).shape
    rows, columns = np.mgrid[:height, :width]
    found = Mounting(degrees, flip_x, flip_y, roi=(1, 6, 2, 6), binning=2)
    y_px, x_px = found.centres_px(SHAPE)
    assert (y_px.tolist(), x_px.tolist()) == ([1.5, 3.5], [2.5, 4.5])
    for coordinate, expected in ((rows, y_px[:, None]), (columns, x_px[None])):
        raw = coordinate[::-1] if flip_y else coordinate
        raw = raw[:, ::-1] if flip_x else raw
        shown = image(found, np.rot90(raw, degrees // 90))
        np.testing.assert_allclose(shown, np.broadcast_to(expected, shown.shape))


@pytest.mark.parametrize(
    ("size", "centres"), [(1, [0, 1, 2, 3, 4, 5, 6]), (2, [0.5, 2.5, 4.5]), (3, [1, 4])]
)
def test_a_remainder_is_left_out_at_the_far_edge(size: int, centres: list[float]) -> None:
    found = Mounting(binning=size)
    assert found.image_shape((7, 7)) == (len(centres), len(centres))
    assert found.centres_px((7, 7))[0].tolist() == centres
    assert found.bounds((7, 7)) == (0, len(centres) * size, 0, len(centres) * size)


def test_bins_without_their_invalid_pixels() -> None:
    """Half of them must be valid; a sum is that of as many pixels as a bin has."""
    frame = np.array([[1, 3, 4, np.nan], [np.nan, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(image(Mounting(binning=2), frame), [[2, np.nan]])
    full = np.array([[1, 3], [np.inf, 5]])
    assert image(Mounting(binning=2), full).tolist() == [[3]]
    assert image(Mounting(binning=2, binning_mode="sum"), full).tolist() == [[12]]


def test_every_frame_of_a_batch() -> None:
    batch = torch.stack([torch.from_numpy(FRAME), torch.from_numpy(-FRAME)])
    found = Mounting(90, flip_x=True, binning=3).mounted(batch)
    np.testing.assert_array_equal(found[0], -found[1])
    assert found.shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Mounting(roi=(0, 6, 0, 9)), ""),
        (Mounting(roi=(0, 6, 0, 10)), "detector.roi = [0, 6, 0, 10] reaches beyond the mounted "),
        (Mounting(90, roi=(0, 9, 0, 6)), ""),
        (Mounting(90, roi=(0, 6, 0, 9)), "beyond the mounted image of 9 x 6 pixels"),
        (Mounting(binning=6), ""),
        (Mounting(binning=7), "detector.binning = 7 leaves nothing of the 6 x 9 pixels"),
    ],
)
def test_what_a_frame_cannot_be(found: Mounting, words: str) -> None:
    problem = found.problem(SHAPE)
    assert words in problem
    assert bool(problem) == bool(words)


@pytest.mark.parametrize(
    ("region", "rows", "columns"),
    [
        ((0, 6, 0, 9), [0, 1], [0, 1, 2]),
        ((2, 6, 3, 7), [1], [1]),  # bins begin at 1 and 2: 1-2, 3-4 and 2-3, 4-5, 6-7
        ((0, 3, 0, 3), [0], []),
        ((5, 6, 8, 9), [], []),
        ((0, 1, 0, 2), [], []),
    ],
)
def test_a_region_takes_whole_bins(
    region: tuple[int, int, int, int], rows: list[int], columns: list[int]
) -> None:
    found = Mounting(roi=(1, 6, 2, 9), binning=2).inside(region, SHAPE)
    assert [list(range(2))[found[0]], list(range(3))[found[1]]] == [rows, columns]


def test_a_binned_pixel_is_larger() -> None:
    geometry = Geometry(energy_ev=3e4, distance_m=1.0, pixel_size_m=5e-6, source_distance_m=1.0)
    assert Mounting(binning=3).scaled(geometry).pixel_size_m == pytest.approx(15e-6)
    assert Mounting(binning=3).scaled(geometry).magnification == 2
    assert Mounting().scaled(geometry) is geometry


def test_the_settings() -> None:
    settings = DetectorSettings(
        rotation_deg=90, flip_x=True, flip_y=True, roi=(0, 4, 0, 4), binning=2, binning_mode="sum"
    )
    assert mounting(settings) == Mounting(90, True, True, (0, 4, 0, 4), 2, "sum")
    assert mounting(DetectorSettings()) == Mounting()
