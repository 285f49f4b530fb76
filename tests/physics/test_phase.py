"""Phase integration: accuracy, boundaries, holes, weights, axes and signs."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import cade.phase
from cade import Geometry, PhaseIntegrator, Refraction, UsageError, integrate_phase
from cade.poisson import PoissonSolver
from cade.staggered import differences, edge_weights, integrals

Image = NDArray[Any]

PARALLEL = Geometry(energy_ev=30e3, distance_m=2.0, pixel_size_m=12e-6)
CONE = Geometry(energy_ev=30e3, distance_m=2.0, pixel_size_m=12e-6, source_distance_m=1.0)


def per_pixel(geometry: Geometry) -> float:
    """Phase step in rad over one pixel of the sample plane for an angle of 1 rad."""
    wavelength_m = 1.239841984332e-6 / geometry.energy_ev
    pitch_m = geometry.pixel_size_m / (1 + geometry.distance_m / geometry.source_distance_m)
    return 2 * math.pi / wavelength_m * pitch_m


def lens(
    height: int, width: int, std_rad: float = 6.7, geometry: Geometry = CONE
) -> tuple[Image, Refraction[Image]]:
    """A Gaussian off the centre on an astigmatic defocus, which is steep at the borders."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    x, y = columns - 0.37 * width, rows - 0.58 * height
    s2 = (0.3 * min(height, width)) ** 2
    bump = np.exp(-(x**2 + y**2) / (2 * s2))
    phase = bump + 0.05 * (x**2 + 1.3 * y**2 + 0.4 * x * y) / s2
    scale = std_rad / phase.std()
    slope_x = scale * (-x / s2 * bump + 0.05 * (2 * x + 0.4 * y) / s2)
    slope_y = scale * (-y / s2 * bump + 0.05 * (2.6 * y + 0.4 * x) / s2)
    angle = Refraction(slope_x / per_pixel(geometry), slope_y / per_pixel(geometry))
    return scale * (phase - phase.mean()), angle


def disc(height: int, width: int) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:height, :width]
    inside: NDArray[np.bool_] = (
        np.hypot(columns - 0.6 * width, rows - 0.45 * height) < 0.15 * height
    )
    return inside


def without(angle: Refraction[Image], invalid: NDArray[np.bool_]) -> Refraction[Image]:
    """The angle with NaN in x above the middle row and in y below: either one must do."""
    upper = np.arange(invalid.shape[-2])[:, None] < invalid.shape[-2] // 2
    return Refraction(
        np.where(invalid & upper, np.nan, angle.x_rad),
        np.where(invalid & ~upper, np.nan, angle.y_rad),
    )


def rmse(phase: Image, truth: Image) -> float:
    """RMSE over the pixels that the phase has, without the piston."""
    error = (phase - truth)[np.isfinite(phase)].astype(np.float64)
    return float(error.std())


@pytest.mark.parametrize("shape", [(256, 256), (256, 320), (255, 201)])
@pytest.mark.parametrize("geometry", [PARALLEL, CONE])
def test_a_lens_that_is_steep_at_the_borders(shape: tuple[int, int], geometry: Geometry) -> None:
    truth, angle = lens(*shape, geometry=geometry)
    phase = integrate_phase(angle, geometry)
    assert truth.std() == pytest.approx(6.7)
    assert phase.dtype == np.float32
    assert phase.shape == shape
    assert rmse(phase, truth) < 1e-5
    assert abs(phase.mean(dtype=np.float64)) < 1e-6


def test_a_sharp_feature_needs_the_fourth_order_rule() -> None:
    rows, columns = np.mgrid[:64, :80].astype(np.float64)
    x, y = columns - 30, rows - 40
    truth = 5 * np.exp(-(x**2 + y**2) / (2 * 3.0**2))
    slope = [-truth * axis / 3.0**2 / per_pixel(CONE) for axis in (x, y)]
    # The trapezoidal rule leaves 0.0038 rad rms and 0.07 rad at the top of this one.
    assert rmse(integrate_phase(Refraction(slope[0], slope[1]), CONE), truth) < 5e-4


@pytest.mark.parametrize("shape", [(256, 256), (256, 320)])
@pytest.mark.parametrize("kind", ["hole", "border", "scattered"])
def test_a_lens_with_invalid_pixels(shape: tuple[int, int], kind: str) -> None:
    truth, angle = lens(*shape)
    invalid = disc(*shape)
    if kind == "border":
        invalid = np.roll(invalid, -(shape[1] // 2), axis=1)
        assert invalid[:, 0].any()
    if kind == "scattered":
        invalid = np.random.default_rng(5).random(shape) < 0.02
    phase = integrate_phase(without(angle, invalid), CONE)
    np.testing.assert_array_equal(np.isnan(phase), invalid)
    assert rmse(phase, truth) < 0.002
    assert abs(np.nanmean(phase, dtype=np.float64)) < 1e-5


def test_holes_take_few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    # Were the cap exceeded, the warning would fail the test.
    monkeypatch.setattr(cade.phase, "MAX_ITERATIONS", 15)
    _, angle = lens(128, 128)
    scattered = np.random.default_rng(5).random((128, 128)) < 0.02
    integrate_phase(without(angle, scattered), CONE)
    integrate_phase(without(angle, disc(128, 128)), CONE)


def test_running_out_of_iterations_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cade.phase, "MAX_ITERATIONS", 2)
    truth, angle = lens(64, 64)
    with pytest.warns(RuntimeWarning, match="stopped after 2 iterations with an estimated error"):
        phase = integrate_phase(without(angle, disc(64, 64)), CONE)
    assert rmse(phase, truth) < 1


@pytest.mark.parametrize("holes", [False, True])
def test_x_is_along_columns_and_y_along_rows(holes: bool) -> None:
    rows, columns = np.mgrid[:40, :56]
    invalid = disc(40, 56) & holes
    for alpha_x, alpha_y in [(3e-7, 0.0), (0.0, -1e-7), (3e-7, -1e-7)]:
        angle = without(Refraction(np.full((40, 56), alpha_x), np.full((40, 56), alpha_y)), invalid)
        truth = per_pixel(CONE) * (alpha_x * columns + alpha_y * rows)
        truth = truth - truth[~invalid].mean()
        phase = integrate_phase(angle, CONE)
        np.testing.assert_allclose(phase[~invalid], truth[~invalid], atol=1e-5)
        flat = integrate_phase(angle, CONE, remove_tilt=True)
        np.testing.assert_allclose(flat[~invalid], 0, atol=1e-5)


def test_a_delaying_material_is_negative() -> None:
    # A bump of glass, delta > 0, thickest in the middle: phi = -(2 pi / lambda) delta t, which
    # bends rays outwards, so alpha_x is positive on its right.
    rows, columns = np.mgrid[:64, :64] - 31.5
    thickness_m = 20e-6 * np.exp(-(rows**2 + columns**2) / (2 * 9.0**2))
    pitch_m = PARALLEL.pixel_size_m
    delta = 9e-7
    alpha_x = delta * thickness_m * columns / 9.0**2 / pitch_m
    alpha_y = delta * thickness_m * rows / 9.0**2 / pitch_m
    truth = -PARALLEL.wavenumber_per_m * delta * thickness_m
    phase = integrate_phase(Refraction(alpha_x, alpha_y), PARALLEL)
    assert truth.min() < -2
    np.testing.assert_allclose(phase, truth - truth.mean(), atol=1e-4)


def test_the_tilt_taken_out_is_the_least_squares_plane() -> None:
    _, angle = lens(48, 64)
    invalid = disc(48, 64)
    angle = without(angle, invalid)
    kept = integrate_phase(angle, CONE)[~invalid].astype(np.float64)
    flat = integrate_phase(angle, CONE, remove_tilt=True)[~invalid]
    rows, columns = np.nonzero(~invalid)
    axes = np.stack([np.ones(rows.size), rows, columns], axis=1)
    expected = kept - axes @ np.linalg.lstsq(axes, kept)[0]
    np.testing.assert_allclose(flat, expected, atol=1e-4)
    assert np.abs(flat - kept).max() > 1


def dense_solution(x: Image, y: Image, weights: Image, geometry: Geometry) -> Image:
    """The minimum-norm least-squares phase of the staggered equations, by SVD."""
    valid = torch.from_numpy(weights > 0)[None]
    steps = integrals(torch.from_numpy(x)[None], torch.from_numpy(y)[None], valid)
    height, width = x.shape
    index = np.arange(height * width).reshape(height, width)
    equations, values = [], []
    for a, b, step in [
        (index[:, :-1], index[:, 1:], steps.x[0]),
        (index[:-1], index[1:], steps.y[0]),
    ]:
        for i, j, value in zip(a.ravel(), b.ravel(), step.ravel().tolist(), strict=True):
            w = weights.ravel()[[i, j]]
            if w.min() > 0:
                root = math.sqrt(2 * w[0] * w[1] / (w[0] + w[1]))
                equation = np.zeros(height * width)
                equation[i], equation[j] = -root, root
                equations.append(equation)
                values.append(root * value)
    solution: Image = np.linalg.lstsq(np.array(equations), np.array(values), rcond=1e-10)[0]
    return per_pixel(geometry) * solution.reshape(height, width)


@pytest.mark.parametrize("shape", [(9, 12), (12, 7), (2, 5), (1, 6)])
@pytest.mark.parametrize("kind", ["plain", "hole", "weights", "both"])
def test_noise_gets_the_least_squares_solution(shape: tuple[int, int], kind: str) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(scale=2e-6, size=(2, *shape))  # 0.3 px: nothing is resampled
    weights = np.ones(shape)
    if kind in ("weights", "both"):
        weights = 10 ** rng.uniform(-1, 1, size=shape)
    if kind in ("hole", "both"):
        weights[shape[0] // 2 : shape[0] // 2 + 2, 2:4] = 0 if shape[0] > 2 else weights[0, 2]
    expected = dense_solution(x, y, weights, CONE)
    given = None if kind == "plain" else weights
    phase = integrate_phase(Refraction(x, y), CONE, weights=given)
    valid = weights > 0
    expected = expected - expected[valid].mean()
    assert expected.std() > 0.6
    np.testing.assert_allclose(phase[valid], expected[valid], atol=1e-4)
    assert np.isnan(phase[~valid]).all()


def test_equal_weights_and_zero_or_nan_weights() -> None:
    _, angle = lens(40, 56)
    invalid = disc(40, 56)
    masked = integrate_phase(without(angle, invalid), CONE)
    for nothing in (0.0, np.nan):
        weights = np.where(invalid, nothing, 7.0)
        np.testing.assert_allclose(integrate_phase(angle, CONE, weights=weights), masked, atol=1e-5)
    np.testing.assert_array_equal(
        integrate_phase(angle, CONE, weights=np.full((40, 56), 7.0)), integrate_phase(angle, CONE)
    )


def test_a_region_of_little_weight_still_converges() -> None:
    truth, angle = lens(64, 64)
    for low in (1e-3, 1e-9):
        weights = np.where(disc(64, 64), low, 1.0)
        assert rmse(integrate_phase(angle, CONE, weights=weights), truth) < 0.002


def test_a_worthless_measurement_has_no_influence() -> None:
    truth, angle = lens(64, 64)
    patch = disc(64, 64)
    angle = Refraction(np.where(patch, 1e-5, angle.x_rad), angle.y_rad)
    outside = np.where(patch, np.nan, truth)
    assert rmse(integrate_phase(angle, CONE) + 0 * outside, truth) > 1
    weighted = integrate_phase(angle, CONE, weights=np.where(patch, 1e-3, 1.0))
    assert rmse(weighted + 0 * outside, truth) < 0.3


def test_a_batch_is_its_single_frames() -> None:
    _, small = lens(40, 56)
    _, large = lens(40, 56, std_rad=300)
    holes = without(large, disc(40, 56))
    speckled = without(small, np.random.default_rng(1).random((40, 56)) < 0.3)
    frames = [small, holes, large, speckled, Refraction(np.nan * small.x_rad, small.y_rad)]
    batch = Refraction(np.stack([f.x_rad for f in frames]), np.stack([f.y_rad for f in frames]))
    phases = integrate_phase(batch, CONE)
    assert phases.shape == (5, 40, 56)
    for phase, frame in zip(phases, frames, strict=True):
        np.testing.assert_allclose(phase, integrate_phase(frame, CONE), rtol=1e-6, atol=1e-6)
    assert np.isnan(phases[4]).all()
    empty = integrate_phase(Refraction(batch.x_rad[:0], batch.y_rad[:0]), CONE)
    assert empty.shape == (0, 40, 56)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_and_numpy_agree(dtype: torch.dtype) -> None:
    _, angle = lens(40, 56)
    angle = without(angle, disc(40, 56))
    weights = np.linspace(1, 3, 56) * np.ones((40, 1))
    tensors = Refraction(
        torch.from_numpy(angle.x_rad).to(dtype), torch.tensor(angle.y_rad).to(dtype)
    )
    phase = integrate_phase(tensors, CONE, weights=torch.from_numpy(weights), remove_tilt=True)
    assert phase.dtype == torch.float32
    expected = integrate_phase(angle, CONE, weights=weights, remove_tilt=True)
    np.testing.assert_allclose(phase.numpy(), expected, atol=1e-4)


def test_input_is_left_alone_and_may_be_read_only_or_big_endian() -> None:
    _, angle = lens(40, 56)
    angle = without(angle, disc(40, 56))
    expected = integrate_phase(angle, CONE)
    before = angle.x_rad.copy(), angle.y_rad.copy()
    angle.x_rad.flags.writeable = False
    swapped = Refraction(angle.x_rad, angle.y_rad.astype(">f8"))
    np.testing.assert_array_equal(integrate_phase(swapped, CONE), expected)
    tensors = Refraction(torch.tensor(before[0])[None], torch.tensor(before[1])[None])
    integrate_phase(tensors, CONE)
    np.testing.assert_array_equal(tensors.x_rad[0].numpy(), before[0])
    np.testing.assert_array_equal(angle.y_rad, before[1])


def test_separate_regions_have_their_own_piston() -> None:
    truth, angle = lens(40, 57)
    invalid = np.zeros((40, 57), dtype=bool)
    invalid[:, 25] = True
    invalid[10:13, 40:43] = True
    invalid[11, 41] = False
    phase = integrate_phase(without(angle, invalid), CONE)
    np.testing.assert_array_equal(np.isnan(phase), invalid)
    assert np.nanmax(np.abs(phase)) < 100
    phase[11, 41] = np.nan
    assert rmse(phase[:, :25], truth[:, :25]) < 0.002
    assert rmse(phase[:, 26:], truth[:, 26:]) < 0.002


def test_frames_with_next_to_nothing() -> None:
    nan = np.full((5, 6), np.nan)
    one = nan.copy()
    one[2, 3] = 1e-7
    assert np.isnan(integrate_phase(Refraction(nan, nan), CONE, remove_tilt=True)).all()
    phase = integrate_phase(Refraction(one, one), CONE, remove_tilt=True)
    assert phase[2, 3] == 0
    assert np.isnan(phase).sum() == 29
    column = np.where(np.arange(6) == 3, 1e-7, np.nan) * np.ones((5, 1))
    line = integrate_phase(Refraction(column, column), CONE)[:, 3]
    np.testing.assert_allclose(np.diff(line), per_pixel(CONE) * 1e-7, rtol=1e-5)
    assert integrate_phase(Refraction(one[:1, :1] * 0, one[:1, :1]), CONE).shape == (1, 1)


def test_a_large_frame_keeps_its_accuracy() -> None:
    truth, angle = lens(1024, 1200, std_rad=500)
    for dtype, bound in ((torch.float64, 1e-4), (torch.float32, 1e-3)):
        integrator = PhaseIntegrator((1024, 1200), dtype=dtype)
        assert rmse(integrator(angle, CONE), truth) < bound


def test_single_precision_gets_around_holes() -> None:
    truth, angle = lens(256, 256)
    integrator = PhaseIntegrator((256, 256), dtype=torch.float32)
    phase = integrator(without(angle, disc(256, 256)), CONE)
    assert rmse(phase, truth) < 0.01


def test_an_integrator_serves_many_calls() -> None:
    integrator = PhaseIntegrator((40, 56), "cpu")
    for std_rad in (1.0, 10.0):
        _, angle = lens(40, 56, std_rad)
        batch = Refraction(angle.x_rad[None], angle.y_rad[None])
        np.testing.assert_array_equal(integrator(angle, CONE), integrate_phase(angle, CONE))
        np.testing.assert_array_equal(integrator(batch, CONE)[0], integrate_phase(angle, CONE))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_gives_what_the_host_gives() -> None:
    _, angle = lens(256, 320)
    for case in (angle, without(angle, disc(256, 320))):
        tensors = Refraction(torch.tensor(case.x_rad).cuda(), torch.tensor(case.y_rad).cuda())
        phase = integrate_phase(tensors, CONE, remove_tilt=True)
        assert phase.is_cuda
        expected = integrate_phase(case, CONE, remove_tilt=True)
        np.testing.assert_allclose(phase.cpu().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (10, 7), (1, 5), (5, 1), (1, 1), (3, 2)])
def test_the_poisson_solver_is_the_pseudo_inverse(shape: tuple[int, int]) -> None:
    solver = PoissonSolver.of(shape, torch.device("cpu"), torch.float64)
    size = shape[0] * shape[1]
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    laplacian = differences(unit).adjoint().reshape(size, size)
    inverse = solver(unit).reshape(size, size)
    torch.testing.assert_close(inverse, torch.linalg.pinv(laplacian), atol=1e-12, rtol=0)


def test_the_integration_rule_is_exact_for_the_polynomials_it_claims() -> None:
    j = torch.arange(8, dtype=torch.float64)
    for power in range(4):
        slope = j.pow(power).expand(1, 1, 8)
        exact = j.pow(power + 1).diff() / (power + 1)
        got = integrals(slope, slope, None).x[0, 0]
        torch.testing.assert_close(got[1:-1], exact[1:-1])
        if power < 3:
            torch.testing.assert_close(got, exact)
    valid = torch.ones((1, 1, 8), dtype=torch.bool)
    valid[0, 0, 3] = False
    torch.testing.assert_close(
        integrals(slope, slope, valid).y, torch.empty((1, 0, 8), dtype=torch.float64)
    )
    quadratic = j.pow(2).expand(1, 1, 8)
    got = integrals(quadratic, quadratic, valid).x[0, 0]
    exact = j.pow(3).diff() / 3
    kept = [0, 1, 4, 5, 6]
    torch.testing.assert_close(got[kept], exact[kept])


def test_a_pair_weighs_the_harmonic_mean() -> None:
    got = edge_weights(torch.tensor([[[1.0, 3.0, 0.0, 0.0]]])).x
    torch.testing.assert_close(got, torch.tensor([[[1.5, 0.0, 0.0]]]))


def test_what_does_not_fit_is_refused() -> None:
    ones = np.ones((4, 5))
    angle = Refraction(ones, ones)
    with pytest.raises(UsageError, match=r"must be \(H, W\) or \(N, H, W\), not \(4,\)"):
        integrate_phase(Refraction(ones[:, 0], ones[:, 0]), CONE)
    with pytest.raises(UsageError, match=r"y_rad must be \(4, 5\) or .* not \(5, 4\)"):
        integrate_phase(Refraction(ones, ones.T), CONE)
    with pytest.raises(UsageError, match=r"weights must be \(4, 5\)"):
        integrate_phase(angle, CONE, weights=ones[:2])
    with pytest.raises(UsageError, match=r"numbers of frames differ.*\[1, 1, 3\]"):
        integrate_phase(angle, CONE, weights=np.ones((3, 4, 5)))
    with pytest.raises(UsageError, match=r"numbers of frames differ.*\[2, 1, 0\]"):
        integrate_phase(Refraction(np.ones((2, 4, 5)), ones), CONE)
    for bad in (-1.0, np.inf):
        with pytest.raises(UsageError, match="finite and not negative"):
            integrate_phase(angle, CONE, weights=np.where(ones, bad, 1.0))
    with pytest.raises(UsageError, match="must not be empty"):
        integrate_phase(Refraction(ones[:0], ones[:0]), CONE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        integrate_phase(angle, CONE, weights=ones)
