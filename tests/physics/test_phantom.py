"""Phantoms: analytic truth, and frames by wave propagation against displaced ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from cade.errors import UsageError
from cade.interpolation import spline_coefficients
from simulator.detector import detector_intensity
from simulator.diffuser import Sandpaper, diffuser_field
from simulator.hill_phantom import Hill, HillPhantom, random_hills
from simulator.materials import material
from simulator.optics import Optics
from simulator.pattern import at_pixels
from simulator.phantom import Phantom
from simulator.projection import (
    displaced_frame,
    displacement_px,
    field_grid,
    phase_rad,
    pixel_grid,
    propagated_frame,
    refraction_rad,
    truth,
)
from simulator.sine_phantom import sine_phantom

OPTICS = Optics()
PITCH_M = OPTICS.geometry.sample_pixel_m
BORDER = 16
SINE_SHAPE, HILLS_SHAPE = (28, 400), (120, 136)


def hills(largest_px: float = 0.9, seed: int = 1) -> HillPhantom:
    generator = torch.Generator().manual_seed(seed)
    return random_hills(OPTICS, HILLS_SHAPE, generator, count=3, largest_px=largest_px)


PHANTOMS = [(sine_phantom(OPTICS, SINE_SHAPE), SINE_SHAPE), (hills(), HILLS_SHAPE)]


def test_sine_refracts_by_two_microradians() -> None:
    sine = sine_phantom(OPTICS, SINE_SHAPE)
    angle_x, angle_y = refraction_rad(sine, *field_grid(OPTICS, SINE_SHAPE))
    assert float(angle_x.max()) == pytest.approx(2e-6, rel=1e-4)
    assert float(angle_x.min()) == pytest.approx(-2e-6, rel=1e-4)
    assert float(angle_y.abs().max()) == 0
    u = displacement_px(sine, OPTICS, SINE_SHAPE)
    assert float(u[0].max()) == pytest.approx(2e-6 * 2 / 12e-6, rel=1e-3)
    assert float(u[1].abs().max()) == 0


def test_sine_has_two_periods_on_its_base() -> None:
    sine = sine_phantom(OPTICS, SINE_SHAPE)
    assert sine.base_m == pytest.approx(1500e-6, rel=0.003)
    x_m, y_m = pixel_grid(OPTICS, SINE_SHAPE)
    thickness_m = sine.thickness_m(x_m, y_m)
    assert thickness_m.shape == SINE_SHAPE
    assert float(thickness_m.max()) == pytest.approx(2 * sine.amplitude_m, rel=1e-4)
    assert float(thickness_m.min()) == 0
    peaks = (thickness_m[0].diff().sign().diff() < 0).nonzero().flatten() + 1
    assert [round(float(x_m[0, i]) * 1e6 / 10) * 10 for i in peaks] == [420, 1180]  # middle ± w/2
    outside = (x_m[0] < sine.left_m) | (x_m[0] > sine.left_m + sine.base_m)
    assert float(thickness_m[0, outside].abs().max()) == 0


def test_sine_amplitude_follows_from_the_angle() -> None:
    sine = sine_phantom(OPTICS, SINE_SHAPE)
    expected = 2e-6 / (2 * math.pi * 1330 * 8.941e-7)
    assert sine.amplitude_m == pytest.approx(expected)
    assert 0.8 < math.exp(-2 * expected * sine.material.mu_per_m) < 0.9


@pytest.mark.parametrize(("width_px", "fits"), [(376, True), (375, False)])
def test_sine_guard_on_both_sides(width_px: int, fits: bool) -> None:
    if fits:
        assert sine_phantom(OPTICS, (8, width_px)).left_m < 1e-6
        return
    with pytest.raises(UsageError, match="1504 µm does not fit into a frame of 1500 µm"):
        sine_phantom(OPTICS, (8, width_px))


@pytest.mark.parametrize(("phantom", "shape"), PHANTOMS, ids=["sine", "hills"])
def test_slopes_are_those_of_the_thickness(phantom: Phantom, shape: tuple[int, int]) -> None:
    x_m, y_m = pixel_grid(OPTICS, shape)
    step_m = 1e-9
    numeric_x = phantom.thickness_m(x_m + step_m, y_m) - phantom.thickness_m(x_m - step_m, y_m)
    numeric_y = phantom.thickness_m(x_m, y_m + step_m) - phantom.thickness_m(x_m, y_m - step_m)
    slope_x, slope_y = phantom.slopes(x_m, y_m)
    torch.testing.assert_close(numeric_x / (2 * step_m), slope_x, atol=1e-3, rtol=0)
    torch.testing.assert_close(numeric_y / (2 * step_m), slope_y, atol=1e-3, rtol=0)


def test_refraction_is_the_gradient_of_the_phase() -> None:
    """α = (λ/2π)·∇Φ, by differences on the sample plane's pitch p/M."""
    grid = field_grid(OPTICS, HILLS_SHAPE)
    slope_y, slope_x = torch.gradient(phase_rad(hills(), OPTICS, *grid), spacing=OPTICS.pitch_m)
    angle_x, angle_y = refraction_rad(hills(), *grid)
    wavenumber_per_m = OPTICS.geometry.wavenumber_per_m
    for slope, angle in ((slope_x, angle_x), (slope_y, angle_y)):
        inside = (slice(1, -1), slice(1, -1))
        difference = (slope / wavenumber_per_m - angle)[inside].abs().max()
        assert float(difference) < 2e-3 * float(angle.abs().max())


def test_displacement_belongs_to_the_ray() -> None:
    """u(x) = α((x − u)/M)·d/p."""
    u = displacement_px(hills(), OPTICS, HILLS_SHAPE)
    x_m, y_m = pixel_grid(OPTICS, HILLS_SHAPE)
    angle = refraction_rad(hills(), x_m - u[0] * PITCH_M, y_m - u[1] * PITCH_M)
    torch.testing.assert_close(u, angle * 2 / 12e-6, atol=1e-4, rtol=0)
    at_pixel = refraction_rad(hills(), x_m, y_m) * 2 / 12e-6
    assert 0.01 < float((u - at_pixel).abs().max()) < 0.15


@pytest.mark.parametrize("largest_px", [0.3, 0.9])
def test_hills_displace_as_far_as_asked(largest_px: float) -> None:
    u = displacement_px(hills(largest_px), OPTICS, HILLS_SHAPE)
    assert float(torch.hypot(*u).max()) == pytest.approx(largest_px, rel=0.01)


def test_hills_at_the_size_of_the_demo_turn_the_phase_many_times() -> None:
    phantom = random_hills(OPTICS, (512, 512), torch.Generator().manual_seed(0))
    found = truth(phantom, OPTICS, (512, 512))
    assert float(found.phase_rad.max()) <= 0
    assert float(found.phase_rad.min()) < -100
    assert (
        float(
            torch.exp(
                -material("alumina").mu_per_m * phantom.thickness_m(*pixel_grid(OPTICS, (512, 512)))
            ).min()
        )
        > 0.5
    )


def test_moved_hills_repeat_with_the_frame() -> None:
    x_m, y_m = pixel_grid(OPTICS, HILLS_SHAPE)
    still = hills().thickness_m(x_m, y_m)
    moved = hills().moved(5 * PITCH_M, -150 * PITCH_M).thickness_m(x_m, y_m)
    torch.testing.assert_close(moved, still.roll((-150, 5), dims=(0, 1)), atol=1e-12, rtol=1e-6)


def test_a_hill_is_where_it_says() -> None:
    hill = Hill(x_m=100 * PITCH_M, y_m=40 * PITCH_M, radius_m=20 * PITCH_M, height_m=1e-4)
    size_m = (HILLS_SHAPE[0] * PITCH_M, HILLS_SHAPE[1] * PITCH_M)
    phantom = HillPhantom(material("pmma"), (hill,), size_m)
    thickness_m = phantom.thickness_m(*pixel_grid(OPTICS, HILLS_SHAPE))
    assert float(thickness_m[40, 100]) == pytest.approx(1e-4)
    assert int((thickness_m > 0).sum()) == pytest.approx(math.pi * 20**2, rel=0.02)
    # Less thickness on the right: the phase rises there, and the ray is deflected right.
    angle_x, angle_y = refraction_rad(phantom, *pixel_grid(OPTICS, HILLS_SHAPE))
    assert float(angle_x[40, 110]) > 0 > float(angle_x[40, 90])
    assert float(angle_y[50, 100]) > 0 > float(angle_y[30, 100])


@pytest.mark.parametrize(
    ("phantom", "shape", "error"),
    [(PHANTOMS[0][0], SINE_SHAPE, 0.006), (hills(0.4), HILLS_SHAPE, 0.012)],
    ids=["sine", "hills"],
)
def test_propagated_and_displaced_frames_agree(
    phantom: Phantom, shape: tuple[int, int], error: float
) -> None:
    """Within the noise of 2000 counts; any other sign, and no focusing, are far outside."""
    fine = (shape[0] * OPTICS.oversampling, shape[1] * OPTICS.oversampling)
    paper = Sandpaper(grain_m=25e-6, height=0.65)
    field = diffuser_field(paper, OPTICS, fine, torch.Generator().manual_seed(2))
    intensity = detector_intensity(field, OPTICS)
    mean = float(intensity.mean())
    continued = functional.pad(intensity[None, None] / mean, (BORDER,) * 4, mode="circular")[0]
    coefficients = spline_coefficients(continued)[0]
    propagated = propagated_frame(field, phantom, OPTICS) / mean
    difference = propagated - displaced_frame(coefficients, BORDER, phantom, OPTICS)
    assert float(difference.std()) < error
    assert abs(float(difference.mean())) < 1e-4
    undisplaced = propagated - at_pixels(intensity / mean) * torch.exp(
        -phantom.material.mu_per_m * phantom.thickness_m(*pixel_grid(OPTICS, shape))
    )
    assert float(undisplaced.std()) > 6 * float(difference.std())
    mirrored = propagated.flip(1) - displaced_frame(coefficients, BORDER, phantom, OPTICS)
    assert float(mirrored.std()) > 6 * float(difference.std())
