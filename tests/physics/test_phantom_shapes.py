"""Spheres, rods, wedges and maps: closed forms, slopes, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cade.errors import UsageError
from simulator.materials import Material, material
from simulator.optics import Optics
from simulator.phantom import Phantom
from simulator.projection import (
    displacement_px,
    field_grid,
    phase_rad,
    pixel_grid,
    refraction_rad,
    truth,
)
from simulator.rod_phantom import Rod, RodPhantom, random_rods
from simulator.sphere_phantom import Sphere, SpherePhantom, random_spheres
from simulator.thickness_map import thickness_map
from simulator.wedge_phantom import WedgePhantom, wedge

OPTICS = Optics()
PMMA = material("pmma")
PITCH_M = OPTICS.geometry.sample_pixel_m
SHAPE = (100, 120)
SIZE_M = (SHAPE[0] * PITCH_M, SHAPE[1] * PITCH_M)
RADIUS_M = 30 * PITCH_M
BALL = SpherePhantom(PMMA, (Sphere(60 * PITCH_M, 50 * PITCH_M, RADIUS_M),), SIZE_M)


def rod(angle_deg: float, length_px: float = 40, radius_px: float = 8) -> RodPhantom:
    one = Rod(
        60 * PITCH_M,
        50 * PITCH_M,
        radius_px * PITCH_M,
        length_px * PITCH_M,
        math.radians(angle_deg),
    )
    return RodPhantom(PMMA, (one,), SIZE_M)


def bump(shape: tuple[int, int] = (64, 80)) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    middle = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    r2 = (y - middle[0]) ** 2 + 0.5 * (x - middle[1]) ** 2
    return np.asarray(3e-4 * np.exp(-r2 / 150))


MAP = thickness_map(OPTICS, SHAPE, PMMA, bump(), PITCH_M)


def test_sphere_is_as_thick_as_it_is_wide() -> None:
    x_m, y_m = pixel_grid(OPTICS, SHAPE)
    thickness_m = BALL.thickness_m(x_m, y_m)
    r2 = (x_m - 60 * PITCH_M) ** 2 + (y_m - 50 * PITCH_M) ** 2
    assert float(thickness_m[50, 60]) == pytest.approx(2 * RADIUS_M)
    closed = 2 * (RADIUS_M**2 - r2).clamp(min=0).sqrt()
    torch.testing.assert_close(thickness_m, closed, atol=1e-12, rtol=0)
    assert float(thickness_m.sum()) * PITCH_M**2 == pytest.approx(
        4 / 3 * math.pi * RADIUS_M**3, rel=1e-3
    )
    phase = phase_rad(BALL, OPTICS, x_m, y_m)
    wavelength_m = 12.39841984 / 30 * 1e-10
    assert float(phase[50, 60]) == pytest.approx(
        -2 * math.pi / wavelength_m * PMMA.delta * 2 * RADIUS_M, rel=1e-6
    )


def test_sphere_is_a_diverging_lens() -> None:
    """α = 2δ·r/√(R² − r²), away from the centre."""
    x_m, y_m = pixel_grid(OPTICS, SHAPE)
    angle_x, angle_y = refraction_rad(BALL, x_m, y_m)
    expected = 2 * PMMA.delta * 20 / math.sqrt(30**2 - 20**2)
    assert float(angle_x[50, 80]) == pytest.approx(expected)
    assert float(angle_x[50, 40]) == pytest.approx(-expected)
    assert float(angle_y[70, 60]) == pytest.approx(expected)
    assert float(angle_x[50, 60]) == 0
    assert float(angle_x[50, 95]) == 0


def test_spheres_repeat_with_the_frame_and_add() -> None:
    x_m, y_m = pixel_grid(OPTICS, SHAPE)
    corner = SpherePhantom(PMMA, (Sphere(0.0, 0.0, RADIUS_M),), SIZE_M)
    centred = BALL.thickness_m(x_m, y_m).roll((-50, -60), dims=(0, 1))
    torch.testing.assert_close(corner.thickness_m(x_m, y_m), centred, atol=1e-10, rtol=0)
    both = SpherePhantom(PMMA, corner.spheres + BALL.spheres, SIZE_M).thickness_m(x_m, y_m)
    torch.testing.assert_close(both, centred + BALL.thickness_m(x_m, y_m))


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, 90.0, 135.0])
def test_rod_has_a_round_profile_at_any_angle(angle_deg: float) -> None:
    phantom = rod(angle_deg)
    across_m = torch.linspace(-9, 9, 181, dtype=torch.float64) * PITCH_M
    angle = math.radians(angle_deg)
    for along_m in (-15 * PITCH_M, 0.0, 15 * PITCH_M):
        x_m = 60 * PITCH_M + along_m * math.cos(angle) - across_m * math.sin(angle)
        y_m = 50 * PITCH_M + along_m * math.sin(angle) + across_m * math.cos(angle)
        profile_m = phantom.thickness_m(x_m, y_m)
        closed = 2 * ((8 * PITCH_M) ** 2 - across_m**2).clamp(min=0).sqrt()
        torch.testing.assert_close(profile_m, closed, atol=1e-10, rtol=0)
        step_m = 0.1 * PITCH_M
        assert float(profile_m.sum()) * step_m == pytest.approx(
            math.pi * (8 * PITCH_M) ** 2, rel=1e-3
        )
        slope_x, slope_y = phantom.slopes(x_m, y_m)
        along = slope_x * math.cos(angle) + slope_y * math.sin(angle)
        assert float(along.abs().max()) < 1e-9 * float(torch.hypot(slope_x, slope_y).max())


def test_rod_ends_in_half_spheres() -> None:
    x_m, y_m = pixel_grid(OPTICS, SHAPE)
    volume_m3 = float(rod(20).thickness_m(x_m, y_m).sum()) * PITCH_M**2
    radius_m, length_m = 8 * PITCH_M, 40 * PITCH_M
    expected = math.pi * radius_m**2 * length_m + 4 / 3 * math.pi * radius_m**3
    assert volume_m3 == pytest.approx(expected, rel=3e-3)


def test_map_has_its_nodes_at_the_pixels_where_pitches_agree() -> None:
    thickness_m = MAP.thickness_m(*pixel_grid(OPTICS, SHAPE))
    top, left = (SHAPE[0] - 64) // 2, (SHAPE[1] - 80) // 2
    inside = thickness_m[top : top + 64, left : left + 80]
    torch.testing.assert_close(inside, torch.from_numpy(bump()), atol=1e-8, rtol=0)
    assert float(thickness_m.sum()) == pytest.approx(float(inside.sum()))


def test_map_fills_the_frame_or_is_coarser() -> None:
    full = thickness_map(OPTICS, SHAPE, PMMA, bump(SHAPE).astype("f4"), PITCH_M)
    thickness_m = full.thickness_m(*pixel_grid(OPTICS, SHAPE))
    torch.testing.assert_close(thickness_m, torch.from_numpy(bump(SHAPE)), atol=1e-8, rtol=0)
    coarse = thickness_map(OPTICS, SHAPE, PMMA, bump()[::2, ::2], 2 * PITCH_M)
    middle = coarse.thickness_m(*(torch.tensor([[n / 2 * PITCH_M]]) for n in (119, 99)))
    assert float(middle) == pytest.approx(3e-4, rel=0.02)
    assert full.thickness_m(*(g.float() for g in field_grid(OPTICS, SHAPE))).dtype == torch.float32


@pytest.mark.parametrize(
    "phantom",
    [BALL, rod(30), MAP, wedge(OPTICS, SHAPE, PMMA)],
    ids=["sphere", "rod", "map", "wedge"],
)
def test_slopes_are_those_of_the_thickness(phantom: Phantom) -> None:
    grid = pixel_grid(OPTICS, SHAPE)
    x_m, y_m = (axis + 0.3 * PITCH_M for axis in grid)  # beside the nodes of the map
    step_m = 1e-9
    numeric_x = phantom.thickness_m(x_m + step_m, y_m) - phantom.thickness_m(x_m - step_m, y_m)
    numeric_y = phantom.thickness_m(x_m, y_m + step_m) - phantom.thickness_m(x_m, y_m - step_m)
    slope_x, slope_y = phantom.slopes(x_m, y_m)
    smooth = torch.hypot(slope_x, slope_y) < 8  # not within a hair of a rim
    assert float(smooth.double().mean()) > 0.98
    for numeric, slope in ((numeric_x, slope_x), (numeric_y, slope_y)):
        difference = (numeric / (2 * step_m) - slope)[smooth]
        torch.testing.assert_close(difference, torch.zeros_like(difference), atol=1e-3, rtol=0)


def test_wedge_refracts_by_delta_times_slope() -> None:
    phantom = wedge(OPTICS, SHAPE, PMMA, 0.5)
    x_m, y_m = pixel_grid(OPTICS, SHAPE)
    on_base = phantom.thickness_m(x_m, y_m) > 0
    angle_x, angle_y = refraction_rad(phantom, x_m, y_m)
    assert float(on_base.double().mean()) == pytest.approx(0.8, abs=0.01)
    torch.testing.assert_close(
        angle_x[on_base], torch.full_like(angle_x[on_base], -PMMA.delta * phantom.slope)
    )
    assert float(angle_y.abs().max()) == 0
    found = truth(phantom, OPTICS, SHAPE)
    assert float(found.ux_px[50, 60]) == pytest.approx(-0.5)
    # At its vertical face rays cross, and the truth says so.
    assert set(torch.nonzero(found.ux_px[50].isnan()).flatten().tolist()) <= {107, 108, 109}
    assert bool(found.phase_rad.isfinite().all())


@pytest.mark.parametrize("phantom", [BALL, rod(30)], ids=["sphere", "rod"])
def test_truth_solves_the_ray_equation_up_to_the_rim(phantom: Phantom) -> None:
    """u(x) = α((x − u)/M)·d/p."""
    u = displacement_px(phantom, OPTICS, SHAPE)
    assert float(u.isnan().double().mean()) < 0.005
    x_m, y_m = pixel_grid(OPTICS, SHAPE)
    angle = refraction_rad(phantom, x_m - u[0] * PITCH_M, y_m - u[1] * PITCH_M)
    error = (u - angle * 2 / 12e-6)[u.isfinite()]
    assert float(error.abs().max()) < 0.01


@pytest.mark.parametrize(("radius_px", "fits"), [(50, True), (50.01, False), (0, False)])
def test_sphere_guard(radius_px: float, fits: bool) -> None:
    sphere = Sphere(0.0, 0.0, radius_px * PITCH_M)
    if fits:
        SpherePhantom(PMMA, (sphere,), SIZE_M)
        return
    with pytest.raises(UsageError, match="does not fit into a frame of 400 × 480 µm"):
        SpherePhantom(PMMA, (sphere,), SIZE_M)


@pytest.mark.parametrize(
    ("angle_deg", "length_px", "fits"),
    [(0, 104, True), (0, 105, False), (90, 84, True), (90, 85, False), (45, -1, False)],
)
def test_rod_guard(angle_deg: float, length_px: float, fits: bool) -> None:
    if fits:
        rod(angle_deg, length_px)
        return
    with pytest.raises(UsageError, match="rods: a radius of 32 µm"):
        rod(angle_deg, length_px)


@pytest.mark.parametrize(
    ("base_px", "slope", "good"),
    [(120, 0.1, True), (121, 0.1, False), (0, 0.1, False), (50, 0.0, False)],
)
def test_wedge_guard(base_px: float, slope: float, good: bool) -> None:
    if good:
        WedgePhantom(PMMA, 0.0, base_px * PITCH_M, slope, SIZE_M[1])
        return
    with pytest.raises(UsageError, match="wedge"):
        WedgePhantom(PMMA, 0.0, base_px * PITCH_M, slope, SIZE_M[1])


@pytest.mark.parametrize(
    ("values", "pitch_m", "complaint"),
    [
        (np.full((100, 120), np.nan), PITCH_M, "finite"),
        (np.full((100, 120), -1e-6), PITCH_M, "not below zero"),
        (np.ones((2, 10, 10)), PITCH_M, "real numbers"),
        (np.ones((10, 10), complex), PITCH_M, "real numbers"),
        (np.ones((1, 10)), PITCH_M, "real numbers"),
        (np.ones((10, 10)), 0.0, "pitch"),
        (np.ones((10, 10)), math.nan, "pitch"),
        (np.ones((101, 120)), PITCH_M, "do not fit into a frame of 400 µm"),
        (np.ones((100, 120)), 1.01 * PITCH_M, "do not fit"),
    ],
)
def test_map_guards(values: np.ndarray[tuple[int, ...]], pitch_m: float, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        thickness_map(OPTICS, SHAPE, PMMA, values, pitch_m)


def test_random_ones_depend_on_the_seed_alone() -> None:
    for make in (random_spheres, random_rods):
        one, same, other = (
            make(OPTICS, SHAPE, torch.Generator().manual_seed(seed), PMMA) for seed in (1, 1, 2)
        )
        assert one == same != other
    turned = random_rods(OPTICS, SHAPE, torch.Generator(), PMMA, count=3, angle_rad=0.7)
    assert [rod.angle_rad for rod in turned.rods] == [0.7] * 3


def test_material_is_any() -> None:
    gold = Material("gold", "Au", 19.3, 3e-6, 5e4)
    assert random_spheres(OPTICS, SHAPE, torch.Generator(), gold).material is gold
