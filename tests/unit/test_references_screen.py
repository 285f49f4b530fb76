"""Frames unlike the others stay out of a reference, are named, and spoil nothing."""

from __future__ import annotations

import numpy as np
import pytest

from cade.errors import CadeError
from cade.frames import Image
from daemon.references.screen import LEAST_FRAMES, ScreenedAverage, screened_average
from tests.speckle import moved, speckle

PATTERN = speckle()


def exposures(count: int, seed: int = 1) -> list[Image]:
    """The pattern with 3 % noise, the beam decaying by 4 %."""
    rng = np.random.default_rng(seed)
    decay = np.linspace(1, 0.96, count)
    return [PATTERN * beam + rng.normal(0, 30, PATTERN.shape) for beam in decay]


ODD = {
    "no beam": PATTERN * 0.02,
    "shutter half open": PATTERN * 0.7,
    "moved by a pixel": moved(PATTERN, 0.8, 0.6),
    "another pattern": speckle(seed=9),
    "half of another pattern": np.where(np.arange(112) < 56, PATTERN, speckle(seed=9)),
}


@pytest.mark.parametrize("place", [0, 3, 4, 5, 11])
@pytest.mark.parametrize("kind", ODD)
def test_the_odd_one_is_left_out_wherever_it_comes(kind: str, place: int) -> None:
    frames = exposures(12)
    good = [frame for number, frame in enumerate(frames) if number != place]
    frames[place] = ODD[kind]
    result = screened_average((str(number), frame) for number, frame in enumerate(frames))
    assert result.count == 11
    [line] = result.left_out
    assert line.startswith(f"{place}: its ")
    np.testing.assert_allclose(result.mean, np.mean(good, axis=0), rtol=1e-6)
    np.testing.assert_allclose(result.variance, np.var(good, axis=0, ddof=1), rtol=1e-3)


def test_two_odd_ones_of_the_first_five() -> None:
    frames = exposures(8)
    frames[0], frames[4] = ODD["no beam"], ODD["moved by a pixel"]
    result = screened_average((str(number), frame) for number, frame in enumerate(frames))
    assert [line.split(":")[0] for line in result.left_out] == ["0", "4"]


@pytest.mark.parametrize("seed", range(5))
def test_noise_a_decaying_beam_and_bad_pixels_are_no_reason(seed: int) -> None:
    frames = exposures(30, seed)
    rng = np.random.default_rng(seed)
    for frame in frames:
        frame[rng.random(frame.shape) < 1e-3] = 60000  # cosmic rays
        frame[5:9] = np.nan
    result = screened_average((str(number), frame) for number, frame in enumerate(frames))
    assert (result.count, result.left_out) == (30, ())


def test_identical_frames_and_fewer_than_five_are_all_taken() -> None:
    assert screened_average([("x", PATTERN)] * 7).count == 7
    few = [("x", PATTERN)] * (LEAST_FRAMES - 2) + [("y", ODD["another pattern"])]
    result = screened_average(few)
    assert (result.count, result.left_out) == (LEAST_FRAMES - 1, ())


def test_who_is_left_out_is_said_when_it_is_known() -> None:
    running = ScreenedAverage()
    told = [running.add(ODD["no beam"] if n == 1 else PATTERN, str(n)) for n in range(6)]
    assert [[odd.name for odd in some] for some in told] == [[], [], [], [], ["1"], []]
    assert (running.count, running.taken) == (5, 6)
    assert [odd.name for odd in running.add(ODD["no beam"], "6")] == ["6"]


def test_what_cannot_be_averaged_is_refused_at_once() -> None:
    running = ScreenedAverage()
    running.add(PATTERN, "0")
    with pytest.raises(CadeError, match="frame 1 has shape"):
        running.add(PATTERN.T, "1")
    with pytest.raises(CadeError, match="no frames to average"):
        ScreenedAverage().result()
