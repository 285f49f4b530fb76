"""Both sides of every guard before the tracker."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cade.frames import Frame, Reason, Role
from daemon.checks import check_content, check_form
from daemon.correction.detector import Detector
from daemon.correction.mounting import Mounting
from daemon.correction.pixel_limits import Limits
from daemon.settings import CheckSettings

SETTINGS = CheckSettings(max_invalid_fraction=0.2, max_saturated_fraction=0.05)


def image(dtype: str = "uint16") -> NDArray[Any]:
    """10 x 10 different values."""
    return np.arange(1, 101).reshape(10, 10).astype(dtype)


def frame(data: NDArray[Any], saturation_value: float | None = None) -> Frame:
    return Frame("7", 3, data, 0.0, origin="here", saturation_value=saturation_value)


def problem(
    data: NDArray[Any], saturation_value: float | None = None, role: Role = Role.SAMPLE
) -> tuple[Reason, str] | None:
    rejected = check_content(frame(data, saturation_value), SETTINGS, role)
    if rejected is None:
        return None
    assert (rejected.series_id, rejected.image_id, rejected.origin) == ("7", 3, "here")
    return rejected.reason, rejected.detail


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "int32", "f4", "f8"])
def test_a_usable_frame(dtype: str) -> None:
    assert problem(image(dtype)) is None


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
@pytest.mark.parametrize("value", [0, 7])
def test_a_frame_without_variation_is_empty(dtype: str, value: int) -> None:
    assert problem(np.full((4, 5), value, dtype)) == (Reason.EMPTY, f"every pixel is {value}")
    almost = np.full((4, 5), value, dtype)
    almost[2, 2] += 1
    assert problem(almost) is None


def test_a_dark_may_be_empty() -> None:
    assert problem(np.zeros((4, 5), "u2"), role=Role.DARK) is None
    for role in (Role.FLAT, Role.REFERENCE, Role.SAMPLE):
        assert problem(np.zeros((4, 5), "u2"), role=role) is not None


@pytest.mark.parametrize(("count", "too_many"), [(20, False), (21, True)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_invalid_pixels(count: int, too_many: bool, value: float) -> None:
    data = image("float32")
    data.ravel()[:count] = value
    expected = (Reason.TOO_MANY_INVALID, "21% of the pixels are not numbers")
    assert problem(data) == (expected if too_many else None)


def test_nothing_but_invalid_pixels() -> None:
    data = np.full((4, 5), np.nan)
    assert problem(data) == (Reason.TOO_MANY_INVALID, "100% of the pixels are not numbers")
    rejected = check_content(frame(data), CheckSettings(max_invalid_fraction=1), Role.SAMPLE)
    assert rejected is not None
    assert rejected.reason is Reason.EMPTY


@pytest.mark.parametrize(("count", "too_many"), [(5, False), (6, True)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_saturation_at_the_largest_number(count: int, too_many: bool, dtype: str) -> None:
    data, top = image(dtype), np.iinfo(dtype).max
    data.ravel()[:count] = top
    expected = (Reason.SATURATED, f"6% of the pixels are at {float(top):g}")
    assert problem(data) == (expected if too_many else None)


@pytest.mark.parametrize(("count", "too_many"), [(5, False), (6, True)])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_saturation_at_the_stated_value(count: int, too_many: bool, dtype: str) -> None:
    data = image(dtype)
    data.ravel()[:count] = 1000
    found = problem(data, saturation_value=1000)
    assert (found is not None) == too_many
    if found is not None:
        assert found[0] is Reason.SATURATED
    assert problem(data, saturation_value=1001) is None


def test_signed_and_float_numbers_have_no_saturation_of_their_own() -> None:
    for dtype, value in (("int16", np.iinfo("int16").max), ("float32", 1e30)):
        data = image(dtype)
        data[:5] = value
        assert problem(data) is None


def test_form() -> None:
    u2 = np.dtype("uint16")
    assert check_form(frame(image()), (10, 10), u2) is None
    shape = check_form(frame(image()), (10, 11), u2)
    assert shape is not None
    assert shape.reason is Reason.WRONG_SHAPE
    assert shape.detail == "shape is (10, 10), the series has (10, 11)"
    dtype = check_form(frame(image("uint32")), (10, 10), u2)
    assert dtype is not None
    assert dtype.reason is Reason.WRONG_DTYPE
    assert dtype.detail == "pixels are uint32, the series has uint16"


# ---------------------------------------------------------------- what is known of the detector


def checked(
    data: NDArray[Any], detector: Detector, saturation_value: float | None = None
) -> tuple[Reason, str] | None:
    found = check_content(frame(data, saturation_value), SETTINGS, Role.SAMPLE, detector)
    return None if found is None else (found.reason, found.detail)


def masked(bad: NDArray[np.bool_], **more: Any) -> Detector:
    return Detector(factor=np.where(bad, np.nan, 1).astype("f4"), used={"mask": "m.tif"}, **more)


def test_bad_pixels_do_not_count() -> None:
    """A detector with gaps that are marked by the largest number: they would be saturation."""
    bad = np.zeros((10, 10), np.bool_)
    bad[:3] = True
    data = image()
    data[:3] = 65535
    assert checked(data, Detector()) is not None
    assert checked(data, masked(bad)) is None
    data[3, :3] = 65535  # 3 of 70
    assert checked(data, masked(bad)) is None
    data[3, 3] = 65535
    assert checked(data, masked(bad)) == (Reason.SATURATED, "6% of the pixels are at 65535")
    floats = image("f4")
    floats[:3] = np.nan
    assert checked(floats, Detector()) is not None
    assert checked(floats, masked(bad)) is None
    floats[3:5] = np.nan
    assert checked(floats, masked(bad)) == (
        Reason.TOO_MANY_INVALID, "29% of the pixels are not numbers",
    )  # fmt: skip


def test_a_frame_that_is_empty_beside_its_bad_pixels() -> None:
    bad = np.zeros((10, 10), np.bool_)
    bad[0] = True
    data = np.full((10, 10), 7, "u2")
    data[0, 3] = 900
    assert checked(data, Detector()) is None
    assert checked(data, masked(bad)) == (Reason.EMPTY, "every pixel is 7")
    data[5, 5] = 8
    assert checked(data, masked(bad)) is None


def test_marks_are_no_saturation_where_the_detector_says_what_is() -> None:
    """DECTRIS: the largest valid value is stated, the largest of the type marks gaps."""
    data = image()
    data.ravel()[:20] = 65535
    assert checked(data, Detector(), 65534) is None
    data.ravel()[20] = 65535
    assert checked(data, Detector(), 65534) == (
        Reason.TOO_MANY_INVALID, "21% of the pixels are marked as invalid",
    )  # fmt: skip
    data.ravel()[:20] = 65534
    assert checked(data, Detector(), 65534) == (
        Reason.SATURATED, "20% of the pixels are at 65534",
    )  # fmt: skip


@pytest.mark.parametrize(("count", "too_many"), [(20, False), (21, True)])
@pytest.mark.parametrize("dtype", ["i4", "f4"])
def test_negative_marks(count: int, too_many: bool, dtype: str) -> None:
    data = image(dtype)
    data.ravel()[:count] = -2
    assert checked(data, Detector()) is None
    assert (checked(data, Detector(limits=Limits(invalid_below=0))) is not None) == too_many


def test_the_setting_says_what_saturates() -> None:
    data = image()
    data.ravel()[:6] = 4095
    detector = Detector(limits=Limits(4095))
    assert checked(data, Detector()) is None
    assert checked(data, detector) == (Reason.SATURATED, "6% of the pixels are at 4095")


def test_only_the_region_of_interest_counts() -> None:
    data = image()
    data[:5] = 65535
    assert checked(data, Detector(mounting=Mounting(roi=(5, 10, 0, 10)))) is None
    upside_down = Detector(mounting=Mounting(180, roi=(5, 10, 0, 10)))
    assert checked(data, upside_down) == (Reason.EMPTY, "every pixel is 65535")


def test_frames_that_do_not_fit_the_settings() -> None:
    detector = masked(np.zeros((10, 11), np.bool_))
    found = checked(image(), detector)
    assert found is not None
    assert found[0] is Reason.WRONG_SHAPE
    assert found[1].startswith("detector.mask (m.tif) has shape (10, 11), the frame (10, 10)")
    found = checked(image(), Detector(mounting=Mounting(roi=(0, 10, 0, 11))))
    assert found is not None
    assert found[1].startswith("detector.roi = [0, 10, 0, 11] reaches beyond the mounted image")
