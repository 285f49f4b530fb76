"""Several phantoms in one beam: phases and attenuations add, by formula and by propagation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from cade.errors import UsageError
from cade.interpolation import spline_coefficients
from simulator.composite import Composite, optical_depth
from simulator.detector import detector_intensity
from simulator.diffuser import Sandpaper, diffuser_field
from simulator.hill_phantom import Hill, HillPhantom
from simulator.materials import material
from simulator.microstructure import Microstructure
from simulator.optics import Optics
from simulator.projection import (
    displaced_frame,
    displacement_px,
    phase_rad,
    pixel_grid,
    propagated_frame,
    refraction_rad,
    truth,
)
from simulator.sphere_phantom import Sphere, SpherePhantom

OPTICS = Optics()
PITCH_M = OPTICS.geometry.sample_pixel_m
SHAPE = (96, 104)
SIZE_M = (SHAPE[0] * PITCH_M, SHAPE[1] * PITCH_M)
BORDER = 16


def hill(name: str, column: float, row: float, height_m: float) -> HillPhantom:
    one = Hill(column * PITCH_M, row * PITCH_M, 30 * PITCH_M, height_m)
    return HillPhantom(material(name), (one,), SIZE_M)


ALUMINA, PMMA = hill("alumina", 40, 40, 1e-4), hill("pmma", 60, 50, 6e-4)
BOTH = Composite((ALUMINA, PMMA))


@pytest.fixture(scope="module")
def field() -> torch.Tensor:
    fine = (SHAPE[0] * OPTICS.oversampling, SHAPE[1] * OPTICS.oversampling)
    paper = Sandpaper(grain_m=25e-6, height=0.65)
    return diffuser_field(paper, OPTICS, fine, torch.Generator().manual_seed(5))


def test_phase_and_angle_add() -> None:
    grid = pixel_grid(OPTICS, SHAPE)
    phases = [phase_rad(one, OPTICS, *grid) for one in (ALUMINA, PMMA)]
    torch.testing.assert_close(phase_rad(BOTH, OPTICS, *grid), phases[0] + phases[1])
    angles = [refraction_rad(one, *grid) for one in (ALUMINA, PMMA)]
    torch.testing.assert_close(refraction_rad(BOTH, *grid), angles[0] + angles[1])
    assert float(phases[1].min()) < -10


def test_transmission_is_that_of_beer_and_lambert() -> None:
    """T = exp(−μ₁t₁ − μ₂t₂), each material with its own total μ."""
    x_m, y_m = (torch.tensor([[n * PITCH_M]], dtype=torch.float64) for n in (48, 44))
    expected = math.exp(
        -306.17 * float(ALUMINA.thickness_m(x_m, y_m)) - 35.779 * float(PMMA.thickness_m(x_m, y_m))
    )
    assert math.exp(-float(optical_depth(BOTH, x_m, y_m))) == pytest.approx(expected)
    assert 0.85 < expected < 0.99


def test_one_phantom_is_a_composite_of_one() -> None:
    one, same = (truth(sample, OPTICS, SHAPE) for sample in (PMMA, Composite((PMMA,))))
    for name in ("phase_rad", "ux_px", "uy_px", "transmission", "dark_field"):
        torch.testing.assert_close(getattr(one, name), getattr(same, name))
    assert bool((one.dark_field == 1).all())


def test_propagated_and_displaced_frames_agree(field: torch.Tensor) -> None:
    intensity = detector_intensity(field, OPTICS)
    continued = functional.pad(intensity[None, None], (BORDER,) * 4, mode="circular")[0]
    coefficients = spline_coefficients(continued)[0]
    propagated = propagated_frame(field, BOTH, OPTICS)
    displaced = displaced_frame(coefficients, BORDER, BOTH, OPTICS)
    difference = float((propagated - displaced).std() / propagated.std())
    assert difference < 0.04
    for one in BOTH.phantoms:
        alone = displaced_frame(coefficients, BORDER, one, OPTICS)
        assert float((propagated - alone).std() / propagated.std()) > 3 * difference


def test_truth_is_what_the_frames_show(field: torch.Tensor) -> None:
    """T and u of the truth turn the reference into the propagated frame."""
    found = truth(BOTH, OPTICS, SHAPE)
    u = displacement_px(BOTH, OPTICS, SHAPE)
    torch.testing.assert_close(torch.stack([found.ux_px, found.uy_px]), u.float())
    # Locally averaged, the frames' ratio is the transmission: absorption and focusing.
    frame, plain = (
        functional.avg_pool2d(image[None, None], 24)
        for image in (
            propagated_frame(field, BOTH, OPTICS),
            propagated_frame(field, hill("pmma", 0, 0, 0.0), OPTICS),
        )
    )
    expected = functional.avg_pool2d(found.transmission[None, None], 24)
    assert float((frame / plain - expected).abs().max()) < 0.03
    assert float(expected.min()) < 0.98


def test_frames_of_a_sample_with_edges_are_propagated_only(field: torch.Tensor) -> None:
    sphere = Sphere(50 * PITCH_M, 50 * PITCH_M, 20 * PITCH_M)
    ball = SpherePhantom(material("alumina"), (sphere,), SIZE_M)
    assert bool(propagated_frame(field, ball, OPTICS).isfinite().all())
    found = truth(ball, OPTICS, SHAPE)
    assert bool(found.phase_rad.isfinite().all())
    assert 0 < float(found.ux_px.isnan().double().mean()) < 0.01
    assert bool(found.dark_field.isnan().equal(found.ux_px.isnan()))
    coefficients = torch.ones(2 * SHAPE[0] + 2 * BORDER, 2 * SHAPE[1] + 2 * BORDER)
    with pytest.raises(UsageError, match="rays cross"):
        displaced_frame(coefficients, BORDER, ball, OPTICS)
    with pytest.raises(UsageError, match=r"displaces by .* px, more than"):
        displaced_frame(torch.ones(2 * SHAPE[0] + 2, 2 * SHAPE[1] + 2), 1, STRONG, OPTICS)
    assert bool(displaced_frame(coefficients, BORDER, STRONG, OPTICS).isfinite().all())


STRONG = hill("alumina", 40, 40, 3e-4)


def test_composites_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="at least one"):
        Composite(())
    structure = Microstructure(PMMA, 1e-7, 2e-6)
    assert Composite((ALUMINA, PMMA), structure).microstructure is structure
    with pytest.raises(UsageError, match="must be one of"):
        Composite((ALUMINA,), structure)
