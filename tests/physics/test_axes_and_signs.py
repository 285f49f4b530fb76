"""A prism moves the speckle by exactly α·d/p, right and down for positive angles.

This fixes the axes and signs of docs/conventions.md by wave propagation alone: diffuser, prism,
free space, detector.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from cade import Displacement, Geometry, refraction_angle
from simulator.detector import HALF_PIXELS, detector_intensity
from simulator.diffuser import Sandpaper, diffuser_field
from simulator.materials import Material
from simulator.optics import Optics
from simulator.pattern import at_pixels
from simulator.phantom import Slopes
from simulator.projection import displacement_px, phase_rad, pixel_grid, propagated_frame

SHAPE = (40, 56)
OPTICS = Optics()
GLASS = Material("glass", "", 1.0, 1e-6, 0.0)


@dataclass(frozen=True)
class Prism:
    """A wedge, folded to zero wherever its phase has gone a full turn."""

    x_turns: int
    y_turns: int
    material: Material = GLASS

    def thickness_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        turn_m = OPTICS.geometry.wavelength_m / GLASS.delta
        x_slope, y_slope = self.slopes(x_m, y_m)
        return (x_slope * x_m + y_slope * y_m) % turn_m

    def slopes(self, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
        per_turn_m = -OPTICS.geometry.wavelength_m / GLASS.delta
        height_m, width_m = (n * OPTICS.geometry.sample_pixel_m for n in SHAPE)
        steep_x, steep_y = self.x_turns * per_turn_m / width_m, self.y_turns * per_turn_m / height_m
        still = torch.zeros_like(x_m + y_m)
        return still + steep_x, still + steep_y


@pytest.fixture(scope="module")
def field() -> torch.Tensor:
    fine = (SHAPE[0] * OPTICS.oversampling, SHAPE[1] * OPTICS.oversampling)
    paper = Sandpaper(grain_m=30e-6)
    rough = diffuser_field(paper, OPTICS, fine, torch.Generator().manual_seed(4))
    # Without its finest detail: a prism must push nothing over the edge of the spectrum.
    low_y, low_x = (torch.fft.fftfreq(n).abs() < 0.25 for n in fine)
    smooth: torch.Tensor = torch.fft.ifft2(torch.fft.fft2(rough) * (low_y[:, None] & low_x))
    return smooth


def shifted(intensity: torch.Tensor, ux_px: float, uy_px: float) -> torch.Tensor:
    """I(x − u) by the shift theorem."""
    fy = HALF_PIXELS * torch.fft.fftfreq(intensity.shape[0], dtype=torch.float64)
    fx = HALF_PIXELS * torch.fft.rfftfreq(intensity.shape[1], dtype=torch.float64)
    turns = -(fy[:, None] * uy_px + fx[None, :] * ux_px)
    ramp = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)
    moved: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(intensity.double()) * ramp)
    return moved


@pytest.mark.parametrize(
    ("x_turns", "y_turns"), [(17, 0), (-17, 0), (0, 17), (0, -17), (25, -10), (40, 30)]
)
def test_prism_displaces_speckle(field: torch.Tensor, x_turns: int, y_turns: int) -> None:
    prism = Prism(x_turns, y_turns)
    wavelength_m, pitch_m = OPTICS.geometry.wavelength_m, OPTICS.geometry.sample_pixel_m
    alpha_x = x_turns * wavelength_m / (SHAPE[1] * pitch_m)  # grows with Φ to the right
    alpha_y = y_turns * wavelength_m / (SHAPE[0] * pitch_m)
    per_rad = OPTICS.distance_m / OPTICS.pixel_size_m
    reference = detector_intensity(field, OPTICS)
    expected = at_pixels(shifted(reference, alpha_x * per_rad, alpha_y * per_rad))
    measured = propagated_frame(field, prism, OPTICS).double()
    assert float((at_pixels(reference) - measured).std()) > 0.03
    torch.testing.assert_close(measured, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("x_turns", "y_turns"), [(17, 0), (25, -10)])
def test_words_agree_with_propagation(x_turns: int, y_turns: int) -> None:
    """Φ = −kδt, its gradient, u and `cade.refraction_angle` tell the same story."""
    prism = Prism(x_turns, y_turns)
    ux_px, uy_px = displacement_px(prism, OPTICS, SHAPE)
    phase = phase_rad(prism, OPTICS, *pixel_grid(OPTICS, SHAPE))
    turn = 2 * torch.pi
    step_x = torch.remainder(phase[0, 1] - phase[0, 0] + turn / 2, turn) - turn / 2
    step_y = torch.remainder(phase[1, 0] - phase[0, 0] + turn / 2, turn) - turn / 2
    assert float(step_x) == pytest.approx(turn * x_turns / SHAPE[1])
    assert float(step_y) == pytest.approx(turn * y_turns / SHAPE[0])
    geometry = OPTICS.geometry
    angle = refraction_angle(Displacement(ux_px, uy_px, torch.isfinite(ux_px)), geometry)
    per_pixel = geometry.wavenumber_per_m * geometry.sample_pixel_m
    torch.testing.assert_close(angle.x_rad * per_pixel, step_x.expand(SHAPE))
    torch.testing.assert_close(angle.y_rad * per_pixel, step_y.expand(SHAPE))


def test_optics_and_geometry_are_one_arrangement() -> None:
    geometry = OPTICS.geometry
    assert geometry == Geometry(30e3, 2.0, 12e-6, source_distance_m=1.0)
    assert geometry.magnification == 3
    assert OPTICS.effective_distance_m == pytest.approx(2 / 3)  # R1·R2/(R1 + R2)
    assert OPTICS.pitch_m == pytest.approx(1e-6)
