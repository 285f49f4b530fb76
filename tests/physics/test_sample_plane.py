"""Strong lenses: what is measured on the detector is integrated where it left the sample."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import cade.phase
from cade import Geometry, Refraction, integrate_phase
from cade.sample_plane import RESAMPLE_PX, to_sample_plane

Image = NDArray[np.float64]
PARALLEL = Geometry(energy_ev=30e3, distance_m=2.0, pixel_size_m=12e-6)
CONE = Geometry(energy_ev=30e3, distance_m=2.0, pixel_size_m=12e-6, source_distance_m=1.0)
DOWNSTREAM = Geometry(
    energy_ev=30e3,
    distance_m=1.0,
    pixel_size_m=12e-6,
    diffuser="downstream",
    sample_distance_m=2.0,
)
SIDE = 192
MIDDLE, SIGMA_PX = (SIDE - 1) / 2, 24.0


def strong_lens(geometry: Geometry, most_px: float) -> tuple[Image, Refraction[Any]]:
    """A Gaussian phase whose rays move by up to `most_px`, and its angles where they arrive.

    Rays leave s and arrive at x = s + v(s): s is found for every pixel x by Newton's method, one
    radius at a time, from the closed form of v.
    """
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    x, y = columns - MIDDLE, rows - MIDDLE
    radius = np.hypot(x, y)
    top = most_px * math.exp(0.5) / SIGMA_PX  # v = top · s · exp(−s²/2σ²) has its maximum at s = σ

    def bend(s: Image) -> Image:
        return top * np.exp(-(s**2) / (2 * SIGMA_PX**2))

    s = radius.copy()
    for _ in range(200):
        slope = 1 + bend(s) * (1 - s**2 / SIGMA_PX**2)
        s -= (s * (1 + bend(s)) - radius) / slope
    assert np.abs(s * (1 + bend(s)) - radius).max() < 1e-9
    angle = bend(s) / geometry.pixels_per_rad * s / np.where(radius > 0, radius, 1)
    per_pixel = geometry.wavenumber_per_m * geometry.sample_pixel_m / geometry.pixels_per_rad
    phase = -per_pixel * SIGMA_PX**2 * bend(radius)
    return phase - phase.mean(), Refraction(angle * x, angle * y)


def rmse(phase: NDArray[Any], truth: Image) -> float:
    known = np.isfinite(phase)
    return float((phase - truth)[known].astype(np.float64).std())


@pytest.mark.parametrize("geometry", [PARALLEL, CONE, DOWNSTREAM])
@pytest.mark.parametrize("most_px", [8.0, -8.0])
def test_a_strong_lens(geometry: Geometry, most_px: float, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, angle = strong_lens(geometry, most_px)
    resampled = rmse(integrate_phase(angle, geometry), truth)
    monkeypatch.setattr(cade.sample_plane, "RESAMPLE_PX", math.inf)
    as_it_was = rmse(integrate_phase(angle, geometry), truth)
    assert resampled < 0.01 * truth.std()
    assert as_it_was > 0.05 * truth.std()


def test_small_displacements_are_left_as_they_are() -> None:
    _, angle = strong_lens(PARALLEL, 0.99 * RESAMPLE_PX)
    fields = torch.from_numpy(np.stack([angle.x_rad, angle.y_rad]))[None]
    moved = fields * PARALLEL.pixels_per_rad
    assert to_sample_plane(fields, moved) is fields


def test_each_frame_for_itself() -> None:
    frames = [strong_lens(PARALLEL, most)[1] for most in (1.0, 6.0)]
    fields = torch.stack(
        [torch.from_numpy(np.stack([angle.x_rad, angle.y_rad])) for angle in frames]
    )
    found = to_sample_plane(fields, fields * PARALLEL.pixels_per_rad)
    assert torch.equal(found[0], fields[0])
    assert not torch.equal(found[1], fields[1])


def test_a_drift_moves_the_frame_and_leaves_its_border_invalid() -> None:
    """u = (5, −3) everywhere: what is at x left the sample 5 px to the left and 3 px below."""
    values = torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    moved = torch.tensor([5.0, -3.0])[None, :, None, None].expand(1, 2, 40, 50)
    found = to_sample_plane(values, moved)
    torch.testing.assert_close(found[..., 3:, :-5], values[..., :-3, 5:], atol=1e-5, rtol=0)
    assert torch.isnan(found[..., :3, :]).all()
    assert torch.isnan(found[..., -5:]).all()


def test_holes_go_with_the_rays() -> None:
    truth, angle = strong_lens(PARALLEL, 8.0)
    invalid = np.zeros((SIDE, SIDE), bool)
    invalid[60:70, 120:132] = True
    # A ray that leaves (s_y, s_x) arrives in the hole where s + v(s) is in it.
    hole = Refraction(*(np.where(invalid, np.nan, a) for a in (angle.x_rad, angle.y_rad)))
    phase = integrate_phase(hole, PARALLEL)
    lost = np.isnan(phase)
    assert 0.5 * invalid.sum() < lost.sum() < 1.5 * invalid.sum()
    rows, columns = (axis.mean() for axis in np.nonzero(lost))
    u_px = [a[65, 126] * PARALLEL.pixels_per_rad for a in (angle.x_rad, angle.y_rad)]
    assert (columns, rows) == pytest.approx((125.5 - u_px[0], 64.5 - u_px[1]), abs=1.0)
    assert rmse(phase, truth) < 0.01 * truth.std()


def test_weights_go_with_them() -> None:
    truth, angle = strong_lens(PARALLEL, 8.0)
    weights = np.ones((SIDE, SIDE))
    weights[60:70, 120:132] = 0
    lost = np.isnan(integrate_phase(angle, PARALLEL, weights=weights))
    hole = Refraction(*(np.where(weights > 0, a, np.nan) for a in (angle.x_rad, angle.y_rad)))
    assert (lost == np.isnan(integrate_phase(hole, PARALLEL))).mean() > 0.999
    assert rmse(integrate_phase(angle, PARALLEL, weights=weights), truth) < 0.01 * truth.std()


def test_nothing_valid() -> None:
    nothing = torch.full((1, 2, 32, 32), torch.nan)
    assert to_sample_plane(nothing, nothing) is nothing
