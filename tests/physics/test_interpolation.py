"""The cubic B-spline: what it reproduces, which way it moves, and what it does at the border."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from cade.interpolation import sample_spline, spline_coefficients, spline_slopes, warp


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def constant(like: torch.Tensor, ux_px: float, uy_px: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full_like(like, ux_px), torch.full_like(like, uy_px)


def test_no_displacement_changes_nothing_up_to_the_border() -> None:
    images = noise(2, 33, 41)
    warped = warp(images, *constant(images, 0, 0))
    torch.testing.assert_close(warped, images, atol=5e-5, rtol=0)


def test_whole_pixels_move_right_and_down() -> None:
    images = noise(1, 40, 50)
    warped = warp(images, *constant(images, 3, -2))
    torch.testing.assert_close(warped[0, 1:-3, 4:], images[0, 3:-1, 1:-3], atol=5e-5, rtol=0)


def test_positions_outside_use_the_border() -> None:
    images = noise(1, 20, 24)
    warped = warp(images, *constant(images, 30, 0))
    torch.testing.assert_close(warped, images[:, :, :1].expand_as(images), atol=5e-5, rtol=0)
    warped = warp(images, *constant(images, 0, -1.5))
    torch.testing.assert_close(warped[0, -2:], images[0, -1:].expand(2, -1), atol=5e-5, rtol=0)


def test_cubic_polynomials_are_exact_inside() -> None:
    y, x = (torch.arange(n, dtype=torch.float64) / 40 - 0.5 for n in (40, 44))

    def surface(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 1 + x - 2 * y + x**2 * y - 3 * y**3 + 2 * x**3 + x * y**2

    image = surface(x[None, :], y[:, None])[None]
    moved = warp(image, *constant(image, 0.37, -1.41))
    expected = surface(x[None, :] - 0.37 / 40, y[:, None] + 1.41 / 40)
    inside = (slice(12, -12), slice(12, -12))
    torch.testing.assert_close(moved[0][inside], expected[inside], atol=2e-5, rtol=0)


def moved_wave(period_px: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A wave `(1, 30, 80)`, positions half a pixel to the left, and the wave there."""
    x = torch.arange(80, dtype=torch.float64)
    image, expected = (torch.cos(2 * math.pi * p / period_px) for p in (x, x - 0.5))
    return image.expand(1, 30, 80), x - 0.5, expected[12:-12]


@pytest.mark.parametrize(("period_px", "error"), [(16, 2e-4), (8, 2e-3), (5, 1.5e-2)])
def test_waves_are_reproduced(period_px: int, error: float) -> None:
    image, _, expected = moved_wave(period_px)
    moved = warp(image, *constant(image, 0.5, 0))[0, 15, 12:-12]
    assert float((moved - expected).abs().max()) < error


def test_waves_are_reproduced_better_than_by_grid_sample() -> None:
    image, position, expected = moved_wave(16)
    grid = torch.stack([(2 * position + 1) / 80 - 1, torch.zeros_like(position)], dim=-1)
    keys = functional.grid_sample(
        image[:, None], grid.reshape(1, 1, 80, 2), mode="bicubic", align_corners=False
    )[0, 0, 0, 12:-12]
    moved = warp(image, *constant(image, 0.5, 0))[0, 15, 12:-12]
    assert float((keys - expected).abs().max()) > 50 * float((moved - expected).abs().max())


def test_displacement_that_varies() -> None:
    """u belongs to the place where the value arrives: I(x − u(x))."""
    y, x = (torch.arange(n, dtype=torch.float64) for n in (48, 64))
    u = 0.8 * torch.sin(x[None, :] / 9) * torch.cos(y[:, None] / 11)

    def pattern(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.cos(2 * math.pi * x / 20) * torch.sin(2 * math.pi * y / 17)

    image = pattern(x[None, :], y[:, None])[None]
    moved = warp(image, u[None], -u[None])
    expected = pattern(x[None, :] - u, y[:, None] + u)
    torch.testing.assert_close(
        moved[0, 12:-12, 12:-12], expected[12:-12, 12:-12], atol=2e-4, rtol=0
    )


def test_images_of_a_batch_do_not_mix() -> None:
    images = noise(3, 24, 20)
    u = noise(3, 24, 20, seed=1) - 0.5
    together = warp(images, u, -u)
    alone = torch.cat([warp(images[i : i + 1], u[i : i + 1], -u[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_other_positions_than_the_pixels() -> None:
    images = noise(1, 30, 30)
    x = torch.tensor([[[4.0, 17.0]]], dtype=torch.float64)
    y = torch.tensor([[[20.0, 9.0]]], dtype=torch.float64)
    found = sample_spline(spline_coefficients(images), x, y)
    expected = torch.stack([images[0, 20, 4], images[0, 9, 17]])
    torch.testing.assert_close(found[0, 0], expected, atol=5e-5, rtol=0)


def test_unknown_displacement_gives_unknown_value() -> None:
    images = noise(1, 16, 16).float()
    ux_px, uy_px = constant(images, 0, 0)
    ux_px[0, 3, 5] = math.nan
    warped = warp(images, ux_px, uy_px)
    assert bool(warped[0, 3, 5].isnan())
    assert int(warped.isnan().sum()) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 2)])
def test_tiny_images(shape: tuple[int, int]) -> None:
    images = noise(1, *shape)
    torch.testing.assert_close(warp(images, *constant(images, 0, 0)), images, atol=5e-5, rtol=0)


def test_slopes_are_the_derivatives_of_the_spline() -> None:
    coefficients = spline_coefficients(noise(2, 20, 24))
    x, y = 1 + 20 * noise(2, 9, 7, seed=1), 1 + 16 * noise(2, 9, 7, seed=2)
    x.requires_grad_()
    y.requires_grad_()
    expected = torch.autograd.grad(sample_spline(coefficients, x, y).sum(), (x, y))
    for slope, gradient in zip(spline_slopes(coefficients, x, y), expected, strict=True):
        torch.testing.assert_close(slope.detach(), gradient)
