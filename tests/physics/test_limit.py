"""The limit against estimates that are as good as any can be, and against known values."""

from __future__ import annotations

import math

import pytest
import torch

from simulator.deformation import bilinear_map
from simulator.limit import RAYLEIGH, hats, limit_epe, limit_sigma
from simulator.pattern import at_pixels, reference_patterns

SHAPE = (11, 9)
PATCH_PX = 4
TRANSMISSION, COUNTS, PRIOR_PX = 0.7, 300.0, 0.4


def node_maps() -> torch.Tensor:
    """The displacement `(nodes, 2, H, W)` that every single node makes, by `bilinear_map`."""
    rows, columns = ((n - 1) // PATCH_PX + 2 for n in SHAPE)
    unit = torch.eye(2 * rows * columns, dtype=torch.float64).reshape(-1, 2, rows, columns)
    return torch.stack([bilinear_map(nodes, PATCH_PX, SHAPE, (0, 0)) for nodes in unit])


def test_hats_are_the_bilinear_map() -> None:
    basis_y, basis_x = hats(SHAPE[0], PATCH_PX), hats(SHAPE[1], PATCH_PX)
    expected = node_maps()[: basis_y.shape[1] * basis_x.shape[1], 0]
    found = torch.einsum("yn,xm->nmyx", basis_y, basis_x).reshape(expected.shape)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(hats(9, 4, 3), hats(12, 4)[3:])


def test_best_estimate_errs_as_much_as_the_limit_says() -> None:
    """Maximum-posterior estimates of drawn nodes from drawn noise, by a plain least squares."""
    generator = torch.Generator().manual_seed(2)
    reference = at_pixels(reference_patterns(1, (24, 24), seed=1)[0])[: SHAPE[0], : SHAPE[1]]
    maps = node_maps()
    gy, gx = torch.gradient(reference.double())
    noise = torch.sqrt((TRANSMISSION + TRANSMISSION**2) * reference.double() / COUNTS)
    # How I_s − T·I_r = −T·(gx·ux + gy·uy) answers to each node.
    answer = (-TRANSMISSION * (gx * maps[:, 0] + gy * maps[:, 1])).flatten(1).T
    trials = 4000
    draws = torch.randn(len(maps), trials, generator=generator, dtype=torch.float64) * PRIOR_PX
    jitter = torch.randn(noise.numel(), trials, generator=generator, dtype=torch.float64)
    data = answer @ draws + noise.reshape(-1, 1) * jitter
    prior = torch.eye(len(maps), dtype=torch.float64) / PRIOR_PX
    system = torch.cat([answer / noise.reshape(-1, 1), prior])
    right = torch.cat([data / noise.reshape(-1, 1), torch.zeros_like(draws)])
    found = torch.linalg.lstsq(system, right).solution
    error = torch.einsum("ndyx,nt->dyxt", maps, found - draws).square().mean(dim=-1).sqrt()
    expected = torch.stack(limit_sigma(reference, TRANSMISSION, COUNTS, PATCH_PX))
    assert float((error / expected - 1).abs().max()) < 0.06  # 1/√(2·4000) is 1.1 %
    assert float((error / expected).mean()) == pytest.approx(1, abs=0.01)


def test_without_speckle_only_the_prior_is_left() -> None:
    sigma_x, sigma_y = limit_sigma(torch.ones(9, 9), 0.9, 1000, 4)
    torch.testing.assert_close(sigma_x, sigma_y)
    assert float(sigma_x[4, 4]) == pytest.approx(0.4)  # on a node
    assert float(sigma_x[6, 6]) == pytest.approx(0.4 / 2)  # amid four


def test_one_direction_of_contrast_measures_one_direction() -> None:
    stripes = (1 + 0.3 * torch.cos(torch.arange(24.0) * 2 * math.pi / 6)).expand(24, 24)
    sigma_x, sigma_y = limit_sigma(stripes, 0.9, 1e4, 8)
    assert float(sigma_x.max()) < 0.05
    assert float(sigma_y[8, 8]) == pytest.approx(0.4)
    turned_x, turned_y = limit_sigma(stripes.T, 0.9, 1e4, 8)
    torch.testing.assert_close(turned_x, sigma_y.T)
    torch.testing.assert_close(turned_y, sigma_x.T)


@pytest.mark.parametrize(
    ("counts", "patch_px", "tabled_px"),
    [(278, 8, 0.081), (1000, 8, 0.047), (1000, 16, 0.023), (1000, 32, 0.012), (10_000, 16, 0.007)],
)
def test_known_values(counts: float, patch_px: int, tabled_px: float) -> None:
    """Means over twelve patterns of 2 to 7 px, found independently; the patterns were others."""
    patterns = at_pixels(reference_patterns(4, (64, 64), seed=1))
    found = sum(limit_epe(pattern, 0.9, counts, patch_px) for pattern in patterns) / 4
    assert 0.6 * tabled_px < found < 1.6 * tabled_px


def test_mean_length_of_a_normal_deviation() -> None:
    deviation = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(0))
    assert float(deviation.norm(dim=0).mean()) / math.sqrt(2) == pytest.approx(RAYLEIGH, rel=5e-3)
    assert pytest.approx(0.886, abs=1e-3) == RAYLEIGH
