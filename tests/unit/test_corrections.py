"""Dark, flat, gain, bad and saturated pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cade.errors import CadeError
from cade.frames import Frame
from daemon.correction.correction import LEAST_FLAT, Correction, make_correction
from daemon.correction.detector import Detector
from daemon.correction.mounting import Mounting
from daemon.correction.pixel_limits import Limits

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


# ---------------------------------------------------------------- the detector's own part

HOST = torch.device("cpu")


def detector(**parts: Any) -> Detector:
    return Detector(**parts)


def frames(
    *images: NDArray[Any], stated: float | None = None, dtype: str | None = None
) -> list[Frame]:
    return [
        Frame("a", n, image.astype(dtype or image.dtype), 0.0, saturation_value=stated)
        for n, image in enumerate(images)
    ]


def test_bad_pixels_and_gains_of_the_detector() -> None:
    factor = np.array([[2, np.nan], [1, 0.5]], np.float32)
    correction = make_correction(None, DARK, detector(factor=factor, used={"gain": "g.npy"}))
    np.testing.assert_array_equal(applied(correction), [[200, np.nan], [300, 200]])
    assert names(correction) == {"dark": True, "flat": False, "gain": "g.npy"}


def test_a_flat_takes_the_gain_out_itself() -> None:
    """A flat is recorded with the same gains; only its mean, and the bad pixels, stay."""
    factor = np.array([[2, np.nan], [1, 0.5]], np.float32)
    flat = np.array([[110, 60], [210, 410]], np.uint16)
    correction = make_correction(flat, DARK, detector(factor=factor))
    expected = 200 * np.array([[100 / 100, np.nan], [300 / 200, 400 / 400]])
    np.testing.assert_allclose(applied(correction), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i4", "f4", "f8"])
def test_saturated_pixels_are_invalid(dtype: str) -> None:
    image = np.array([[10, 99], [100, 101]])
    found = make_correction(None, None).samples(frames(image, dtype=dtype, stated=100), HOST)
    np.testing.assert_array_equal(found, [[[10, 99], [np.nan, np.nan]]])


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8"])
def test_marks_of_the_detector_are_invalid(dtype: str) -> None:
    image = np.array([[10, np.iinfo(dtype).max]], dtype)
    found = make_correction(None, None).samples(frames(image), HOST)
    np.testing.assert_array_equal(found, [[[10, np.nan]]])


def test_each_frame_has_its_own_limit() -> None:
    both = [*frames(RAW, stated=200), *frames(RAW, stated=400), *frames(RAW)]
    found = make_correction(None, None).samples(both, HOST)
    assert torch.isnan(found).sum(dim=(1, 2)).tolist() == [3, 1, 0]


def test_negative_marks_are_invalid_where_asked() -> None:
    image = np.array([[-1, 0]], np.int16)
    assert not make_correction(None, None).samples(frames(image), HOST).isnan().any()
    low = make_correction(None, None, detector(limits=Limits(invalid_below=0)))
    np.testing.assert_array_equal(low.samples(frames(image), HOST), [[[np.nan, 0]]])


def test_saturation_is_found_before_the_dark_is_taken_off_and_pixels_are_binned() -> None:
    mounting = Mounting(binning=2)
    correction = make_correction(None, DARK, detector(mounting=mounting))
    image = np.array([[110, 210], [310, 65535]], np.uint16)
    assert correction.samples(frames(image), HOST).tolist() == [[[200]]]
    assert make_correction(None, DARK).samples(frames(image), HOST).isnan().sum() == 1


def test_gains_are_taken_out_before_pixels_are_binned() -> None:
    factor = np.array([[1, 2], [4, np.nan]], np.float32)
    correction = make_correction(None, None, detector(factor=factor, mounting=Mounting(binning=2)))
    image = np.array([[400, 200], [100, 5000]], np.uint16)
    assert correction.samples(frames(image), HOST).tolist() == [[[400]]]


def test_references_and_samples_go_through_the_same() -> None:
    rng = np.random.default_rng(2)
    raw = rng.integers(100, 1000, (12, 10)).astype("u2")
    factor = rng.uniform(0.5, 2, (12, 10)).astype("f4")
    mounting = Mounting(90, flip_x=True, roi=(1, 9, 2, 11), binning=2)
    correction = make_correction(raw + 50, raw // 9, detector(factor=factor, mounting=mounting))
    sample = correction.samples(frames(raw), HOST)[0]
    assert sample.shape == correction.image_shape((12, 10)) == (4, 4)
    torch.testing.assert_close(correction.reference(raw.astype("f4"), HOST), sample)
    torch.testing.assert_close(correction.apply(torch.from_numpy(raw.astype("f4"))), sample)
    whole = make_correction(raw + 50, raw // 9, detector(factor=factor)).samples(frames(raw), HOST)
    part = mounting.part((12, 10))
    torch.testing.assert_close(mounting.mounted(whole[0][part]), sample)


def test_maps_are_copied_to_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    correction = make_correction(RAW + 2, DARK)
    copies = []
    real = torch.from_numpy

    def copied(array: NDArray[Any]) -> torch.Tensor:
        copies.append(array)
        return real(array)

    monkeypatch.setattr(torch, "from_numpy", copied)
    first = correction.samples(frames(RAW), HOST)
    assert len(copies) == 3, "the frames, the dark, the gain"
    torch.testing.assert_close(correction.samples(frames(RAW), HOST), first)
    assert len(copies) == 4, "the frames"


def test_read_only_frames_are_left_alone() -> None:
    data = np.frombuffer(RAW.tobytes(), "u2").reshape(2, 2)
    found = make_correction(None, DARK).samples(frames(data), HOST)
    assert found.tolist() == [[[100, 200], [300, 400]]]
    assert make_correction(None, None).reference(data, HOST).tolist() == RAW.tolist()
