"""Dark and flat correction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cade.errors import CadeError
from daemon.corrections import LEAST_FLAT, Correction, make_correction

RAW = np.array([[110, 210], [310, 410]], np.uint16)
DARK = np.full((2, 2), 10, np.uint16)


def applied(correction: Correction, raw: NDArray[np.uint16] = RAW) -> Any:
    return correction.apply(torch.from_numpy(raw.astype(np.float32))).tolist()


def names(correction: Correction) -> dict[str, object]:
    return {p.name: p.value for p in correction.parameters}


def test_nothing_changes_nothing() -> None:
    correction = make_correction(None, None)
    assert applied(correction) == RAW.tolist()
    assert names(correction) == {"dark": False, "flat": False}


def test_dark_is_subtracted() -> None:
    correction = make_correction(None, DARK)
    assert applied(correction) == [[100, 200], [300, 400]]
    assert names(correction) == {"dark": True, "flat": False}


def test_flat_of_mean_one_is_divided_out() -> None:
    flat = np.array([[50, 150], [50, 150]], np.uint16)
    correction = make_correction(flat, None)
    assert np.allclose(applied(correction), [[220.0, 140.0], [620.0, 410 / 1.5]])
    assert names(correction) == {"dark": False, "flat": True}


def test_dark_is_taken_from_the_flat_as_well() -> None:
    flat = np.array([[60, 160], [60, 160]], np.uint16)
    correction = make_correction(flat, DARK)
    assert np.allclose(applied(correction), [[200.0, 200 / 1.5], [600.0, 400 / 1.5]])


def test_a_batch_is_corrected_frame_by_frame() -> None:
    correction = make_correction(None, DARK)
    batch = np.stack([RAW, RAW + 1]).astype(np.uint16)
    assert applied(correction, batch) == [[[100, 200], [300, 400]], [[101, 201], [301, 401]]]


@pytest.mark.parametrize(("share", "dead"), [(LEAST_FLAT * 0.9, True), (LEAST_FLAT * 1.2, False)])
def test_dead_pixels_of_the_flat_are_invalid(share: float, dead: bool) -> None:
    flat = np.full((10, 10), 1000.0, np.float32)
    flat[3, 4] = 1000 * share
    gain = make_correction(flat, None).gain
    assert gain is not None
    assert np.isnan(gain[3, 4]) == dead
    assert np.isnan(gain).sum() == dead


def test_unknown_pixels_of_the_flat_are_invalid() -> None:
    flat = np.full((10, 10), 1000.0, np.float32)
    flat[0, 0] = np.nan
    gain = make_correction(flat, None).gain
    assert gain is not None
    assert np.isnan(gain[0, 0])
    assert np.allclose(gain.ravel()[1:], 1)


def test_flat_and_dark_of_different_shapes() -> None:
    with pytest.raises(CadeError, match=r"flat \(2, 2\) and dark \(1, 2\) have different shapes"):
        make_correction(RAW, DARK[:1])


@pytest.mark.parametrize("dark", [RAW, RAW + 1])
def test_flat_without_light(dark: NDArray[np.uint16]) -> None:
    with pytest.raises(CadeError, match="holds no light above the dark"):
        make_correction(RAW, dark)
    make_correction(RAW + 2, RAW)


def test_flat_without_a_number() -> None:
    with pytest.raises(CadeError, match="holds no light"):
        make_correction(np.full((2, 2), np.nan), None)
