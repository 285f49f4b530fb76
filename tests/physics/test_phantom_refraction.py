"""Wave-propagated frames alone show the angles that the phantoms promise: no formula for u is used.

The displacement is measured as a beamline would: the shift of the reference that fits best.
"""

from __future__ import annotations

import math

import pytest
import torch

from cade.interpolation import sample_spline, spline_coefficients
from simulator.composite import Sample
from simulator.detector import HALF_PIXELS, detector_intensity
from simulator.diffuser import Sandpaper, diffuser_field
from simulator.materials import Material
from simulator.optics import Optics
from simulator.projection import propagated_frame
from simulator.sine_phantom import sine_phantom
from simulator.wedge_phantom import wedge

GLASS = Material("glass", "", 1.0, 1e-6, 0.0)
CONE = Optics()
PARALLEL = Optics(source_distance_m=math.inf, pixel_size_m=6e-6, distance_m=1.0)


def frames(sample: Sample, optics: Optics, shape: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """Spline coefficients of the reference `(1, 2H, 2W)`, and the sample frame `(H, W)`."""
    fine = (shape[0] * optics.oversampling, shape[1] * optics.oversampling)
    # Soft, so that the samples push nothing over the edge of the spectrum.
    paper = Sandpaper(grain_m=25e-6, height=0.5)
    field = diffuser_field(paper, optics, fine, torch.Generator().manual_seed(3))
    reference = detector_intensity(field, optics).double()
    return spline_coefficients(reference[None]), propagated_frame(field, sample, optics).double()


def measured_px(coefficients: torch.Tensor, sample: torch.Tensor, columns: slice) -> torch.Tensor:
    """(ux, uy) that explains some columns best, by Gauss and Newton; brightness is free as well."""
    inside = slice(8, -8)
    rows = torch.arange(sample.shape[0], dtype=torch.float64)[inside, None]
    x = torch.arange(sample.shape[1], dtype=torch.float64)[None, columns]
    x, y = x.expand(len(rows), -1), rows.expand(-1, x.shape[1])
    wanted = sample[inside, columns].flatten()
    u = torch.zeros(2, dtype=torch.float64)

    def moved(u: torch.Tensor) -> torch.Tensor:
        places = ((HALF_PIXELS * (p - v))[None] for p, v in zip((x, y), u, strict=True))
        return sample_spline(coefficients, *places).flatten()

    for _ in range(8):
        steps = [1e-3 * unit for unit in torch.eye(2, dtype=torch.float64)]
        slopes = [(moved(u + step) - moved(u - step)) / 2e-3 for step in steps]
        here = moved(u)
        design = torch.stack([here, *slopes], dim=1)
        brightness, *change = torch.linalg.lstsq(design, wanted[:, None]).solution.flatten()
        u = u + torch.stack(change) / brightness
    return u


def test_sine_has_two_microradians_either_way() -> None:
    """Figure 6 of the paper."""
    shape = (80, 392)
    sine = sine_phantom(CONE, shape)
    coefficients, frame = frames(sine, CONE, shape)
    pitch_m = CONE.geometry.sample_pixel_m
    period_px, left_px = 1 / sine.frequency_per_m / pitch_m, sine.left_m / pitch_m
    half_width = 12
    # The angle's mean over so many columns, of its peak.
    share = math.sin(angle := 2 * math.pi * half_width / period_px) / angle
    for quarter, sign in ((1, -1), (3, 1), (5, -1), (7, 1)):
        middle = round(left_px + quarter / 4 * period_px)
        columns = slice(middle - half_width, middle + half_width + 1)
        ux_px, uy_px = measured_px(coefficients, frame, columns)
        angle_rad = ux_px * CONE.pixel_size_m / CONE.distance_m / share
        assert float(angle_rad) == pytest.approx(sign * 2e-6, rel=0.03)
        assert abs(float(uy_px)) < 0.01


@pytest.mark.parametrize("optics", [CONE, PARALLEL], ids=["cone", "parallel"])
@pytest.mark.parametrize("displacement_px", [0.2, 0.7])
def test_wedge_displaces_by_alpha_d_over_p(optics: Optics, displacement_px: float) -> None:
    shape = (64, 128)
    phantom = wedge(optics, shape, GLASS, displacement_px)
    alpha_rad = -GLASS.delta * phantom.slope  # towards the thin end
    expected_px = alpha_rad * optics.distance_m / optics.pixel_size_m
    assert expected_px == pytest.approx(-displacement_px)
    coefficients, frame = frames(phantom, optics, shape)
    ux_px, uy_px = measured_px(coefficients, frame, slice(30, 98))
    assert float(ux_px) == pytest.approx(expected_px, abs=2e-3)
    assert float(uy_px) == pytest.approx(0, abs=2e-3)
