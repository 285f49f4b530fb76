"""The conventional yardstick: as accurate as its peers, and it says where it fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cade.displacement import Displacement
from cade.errors import UsageError
from models import local_contrast
from models.zncc_tracker import ZnccTracker
from tests.speckle import moved, speckle

CPU = torch.device("cpu")
SHIFT_PX = 0.3


def noisy_pair(shift_px: float = SHIFT_PX, side: int = 256) -> list[torch.Tensor]:
    """Speckle of 4 px FWHM, visibility 0.25, T = 0.9, N0 = 1e4."""
    generator = np.random.default_rng(1)
    reference = speckle((side, side)) * 10
    sample = 0.9 * moved(reference, shift_px, 0.0)
    return [torch.from_numpy(generator.poisson(i)).float() for i in (reference, sample)]


def test_accuracy() -> None:
    """Peers reach 0.03 (UMPA), 0.026 (algotom) and 0.018 px (spexwavepy) with this window."""
    found = ZnccTracker(CPU, 15).track(*noisy_pair())
    assert float(found.valid.float().mean()) > 0.99
    for u, truth, bound in ((found.ux_px, SHIFT_PX, 0.016), (found.uy_px, 0.0, 0.016)):
        error = (u - truth)[found.valid]
        assert float(error.square().mean().sqrt()) <= bound
        assert abs(float(error.mean())) <= 0.005


def test_a_shift_along_x_is_none_along_y() -> None:
    """Oblique speckles give a tilted correlation peak; fits along each axis found 0.08 px here."""
    found = ZnccTracker(CPU, 15).track(*noisy_pair(0.5))
    assert float(found.uy_px[found.valid].square().mean().sqrt()) <= 0.028


def rmse(found: Displacement[torch.Tensor], ux_px: float = SHIFT_PX) -> tuple[float, float]:
    inner = (slice(12, -12), slice(12, -12))
    errors = (found.ux_px - ux_px)[inner], found.uy_px[inner]
    return tuple(float(e.nanmean().abs() + e[~e.isnan()].std()) for e in errors)  # type: ignore[return-value]


def test_fits() -> None:
    """At half a pixel the fits through whole shifts are worst; the interpolated one is not."""
    pair = noisy_pair(0.5)
    for fit in ("gaussian", "quadratic"):
        assert 0.012 < max(rmse(ZnccTracker(CPU, 15, fit=fit).track(*pair), 0.5)) < 0.026
    fine_fit = ZnccTracker(CPU, 15, fit="interpolated")
    assert max(rmse(fine_fit.track(*pair), 0.5)) < 0.012
    assert fine_fit.provenance.has_sigma


def test_unknown_fit() -> None:
    with pytest.raises(UsageError, match=r"unknown fit 'cubic'.*gaussian, quadratic, interpolated"):
        ZnccTracker(CPU, fit="cubic")


def test_bias_is_subtracted() -> None:
    """A reference against itself lies exactly still; the bias at 0.3 px is nearly the same."""
    pair = noisy_pair()
    plain = ZnccTracker(CPU, 15, subtract_bias=False)
    assert rmse(plain.track(*pair))[1] > 1.5 * rmse(ZnccTracker(CPU, 15).track(*pair))[1]
    still = ZnccTracker(CPU, 15).track(pair[0], pair[0])
    assert float(still.ux_px[still.valid].abs().max()) < 1e-5


def test_larger_windows_are_smoother() -> None:
    pair = noisy_pair()
    spread = []
    for window in (9, 21):
        found = ZnccTracker(CPU, window).track(*pair)
        spread.append(float(found.uy_px[found.valid].std()))
    assert spread[1] < 0.6 * spread[0]


def test_a_shift_beyond_the_search_is_not_valid() -> None:
    """The best match at the edge of the search is no match."""
    tracker = ZnccTracker(CPU, 15, search_px=2)
    near = tracker.track(*noisy_pair(1.3, 128))
    far = tracker.track(*noisy_pair(2.6, 128))
    assert float(near.valid[:, 16:-16].float().mean()) > 0.99
    assert float(far.valid[:, 16:-16].float().mean()) < 0.01


@pytest.mark.parametrize("u", [(1.4, -0.6), (-2.3, 2.1)])
def test_shifts_of_several_pixels(u: tuple[float, float]) -> None:
    reference = speckle((128, 144))
    found = ZnccTracker(CPU, 15).track(reference, moved(reference, *u))
    inner = (slice(16, -16), slice(16, -16))
    assert float(found.valid[inner].mean()) > 0.99
    assert float(np.nanmean(found.ux_px[inner])) == pytest.approx(u[0], abs=0.02)
    assert float(np.nanmean(found.uy_px[inner])) == pytest.approx(u[1], abs=0.02)


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = ZnccTracker(CPU, 11)
    pair = noisy_pair(side=128)
    whole = tracker.track(*pair)
    monkeypatch.setattr(local_contrast, "CPU_SIDE_PX", 40)
    tiled = tracker.track(*pair)
    assert torch.equal(tiled.valid, whole.valid)
    torch.testing.assert_close(tiled.ux_px, whole.ux_px, atol=1e-5, rtol=0, equal_nan=True)


@pytest.mark.parametrize("window", [-3, 0, 1, 2, 14])
def test_windows_are_odd(window: int) -> None:
    with pytest.raises(UsageError, match=f"odd.*{window}"):
        ZnccTracker(CPU, window)


def test_there_is_a_search() -> None:
    with pytest.raises(UsageError, match="search"):
        ZnccTracker(CPU, 15, search_px=0)


def test_window_larger_than_the_frame() -> None:
    frame = speckle((20, 64))
    with pytest.raises(UsageError, match="window 21 is larger than the frame, 20 x 64"):
        ZnccTracker(CPU, 21).track(frame, frame)
    assert ZnccTracker(CPU, 19).track(frame, frame).ux_px.shape == (20, 64)
