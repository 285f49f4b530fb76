"""Absorption is left when focusing is divided out, and nothing else is changed."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional

from cade.displacement import Displacement, focusing
from cade.interpolation import spline_coefficients
from models import load_tracker
from models.focusing import divide_focusing
from simulator.detector import expose
from simulator.pairs import displaced_intensity
from simulator.pattern import at_pixels, reference_pattern

SIDE, BORDER = 256, 24
COUNTS, ABSORPTION = 1e4, 0.8
INNER = (slice(16, -16), slice(16, -16))


def waves(amplitude_px: float = 1.0, period_px: float = 96.0) -> torch.Tensor:
    """A displacement `(2, H, W)` that focuses and spreads by turns."""
    steps = 2 * torch.pi * torch.arange(SIDE) / period_px
    ux = amplitude_px * torch.sin(steps).expand(SIDE, SIDE)
    return torch.stack([ux, ux.T])


def tracked(focused: bool) -> Displacement[torch.Tensor]:
    """A simulated pair with one absorption everywhere, with and without the determinant."""
    intensity = reference_pattern(0, (SIDE, SIDE), 77)
    u = waves()
    wide = functional.pad(intensity[None, None], (BORDER,) * 4, mode="circular")[0]
    moved = displaced_intensity(spline_coefficients(wide), u[None], BORDER)[0]
    factor = focusing(u[0], u[1]) if focused else torch.ones(SIDE, SIDE)
    generator = torch.Generator().manual_seed(0)
    reference = expose(at_pixels(intensity), COUNTS, generator)
    sample = expose(ABSORPTION * factor * moved, COUNTS, generator)
    return load_tracker("cade", device="cpu").track(reference[None], sample[None])


def spread(found: Displacement[torch.Tensor]) -> float:
    """Standard deviation of transmission over absorption."""
    assert found.transmission is not None
    return float((found.transmission[0] / ABSORPTION)[INNER].std())


def test_determinant_of_a_linear_field() -> None:
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    found = focusing(0.1 * x + 0.02 * y, 0.03 * x - 0.2 * y)
    torch.testing.assert_close(found, torch.full((8, 9), 0.9 * 1.2 - 0.02 * 0.03))


def test_focusing_is_divided_out_where_it_is() -> None:
    found = tracked(focused=True)
    assert spread(found) > 0.05
    absorption = divide_focusing(found)
    assert spread(absorption) < 0.012
    assert absorption.transmission is not None
    mean = float(absorption.transmission[0][INNER].mean())
    assert mean == pytest.approx(ABSORPTION, rel=5e-3)


def test_where_there_is_none_dividing_brings_it_in() -> None:
    """Which is why it is an option."""
    found = tracked(focused=False)
    assert spread(found) < 0.012
    assert spread(divide_focusing(found)) > 0.05


def test_everything_else_stays() -> None:
    found = tracked(focused=True)
    divided = divide_focusing(found)
    for field in dataclasses.fields(found):
        if field.name != "transmission":
            assert getattr(divided, field.name) is getattr(found, field.name)


def test_invalid_pixels_stay_invalid_and_alone() -> None:
    u = waves()[:, None]
    valid = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    valid[:, 100:104, 100:104] = False
    half = torch.full_like(u[0], 0.5)
    whole = divide_focusing(Displacement(u[0], u[1], torch.ones_like(valid), transmission=half))
    ux, uy, half = (image.masked_fill(~valid, torch.nan) for image in (u[0], u[1], half))
    found = divide_focusing(Displacement(ux, uy, valid, transmission=half))
    assert found.transmission is not None
    assert whole.transmission is not None
    assert torch.equal(torch.isnan(found.transmission), ~valid)
    assert float((found.transmission - whole.transmission)[valid].abs().max()) < 0.02


def test_without_transmission_there_is_nothing_to_do() -> None:
    u = waves()[:, None]
    found = Displacement(u[0], u[1], torch.ones(1, SIDE, SIDE, dtype=torch.bool))
    assert divide_focusing(found) is found


def test_caustics_are_bounded() -> None:
    """Where rays cross, the determinant is zero or negative."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    ones = torch.ones(1, 64, 64)
    found = divide_focusing(Displacement(2 * x[None], 0 * y[None], ones > 0, transmission=ones))
    assert found.transmission is not None
    assert float(found.transmission.max()) <= 10.001
