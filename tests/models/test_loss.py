"""The loss against hand-made numbers."""

from __future__ import annotations

import math

import pytest
import torch

from cade.errors import UsageError
from models.estimate import Estimate
from models.loss import coverage_loss, end_point_error, multiscale_loss


def field(ux: float, uy: float, side: int = 8, count: int = 1) -> torch.Tensor:
    return torch.tensor([ux, uy])[None, :, None, None].expand(count, 2, side, side).clone()


def test_end_point_error_is_the_length_of_the_difference() -> None:
    error = end_point_error(field(3.0, 1.0), field(0.0, -3.0))
    assert error.shape == (1, 8, 8)
    assert float(error[0, 0, 0]) == pytest.approx(5.0, abs=1e-5)


def test_end_point_error_has_a_gradient_at_zero() -> None:
    u = field(0.0, 0.0).requires_grad_()
    end_point_error(u, field(0.0, 0.0)).sum().backward()  # type: ignore[no-untyped-call]
    assert u.grad is not None
    assert bool(torch.isfinite(u.grad).all())


def test_mean_and_sum() -> None:
    """Two samples of 64 px, off by 5 px: the mean is 5, the sum over pixels 320 a sample."""
    estimates = [Estimate(field(3.0, 4.0, count=2))]
    truth = field(0.0, 0.0, count=2)
    assert float(multiscale_loss(estimates, truth, [1.0], "mean", 0)) == pytest.approx(5, rel=1e-5)
    assert float(multiscale_loss(estimates, truth, [1.0], "sum", 0)) == pytest.approx(320, rel=1e-5)


def test_weights_are_those_of_their_estimates() -> None:
    estimates = [Estimate(field(1.0, 0.0)), Estimate(field(0.0, 2.0))]
    loss = multiscale_loss(estimates, field(0.0, 0.0), [0.5, 10.0], "mean", 0)
    assert float(loss) == pytest.approx(0.5 * 1 + 10 * 2, rel=1e-5)


def test_coarse_estimates_are_compared_with_the_truth_averaged_down() -> None:
    truth = torch.zeros(1, 2, 4, 4)
    truth[0, 0, :2, :2] = torch.tensor([[0.0, 4.0], [4.0, 8.0]])
    coarse = torch.zeros(1, 2, 2, 2)
    coarse[0, 0, 0, 0] = 4.0  # the mean, in full-resolution pixels
    assert float(multiscale_loss([Estimate(coarse)], truth, [1.0], "sum", 0)) == pytest.approx(
        0, abs=5e-3
    )


def test_original_weights_on_sums_favour_the_finest_scale() -> None:
    """The same error at all five scales: 0.005 on 256² sums outweighs 0.32 on 16²."""
    truth = field(0.0, 0.0, 256)
    terms = [
        float(multiscale_loss([Estimate(field(1.0, 0.0, 256 // n))], truth, [weight], "sum", 0))
        for n, weight in ((16, 0.32), (8, 0.08), (4, 0.02), (2, 0.01), (1, 0.005))
    ]
    assert max(terms) == terms[-1]


@pytest.mark.parametrize("true_sigma", [0.05, 0.4])
def test_coverage_is_best_at_the_right_sigma(true_sigma: float) -> None:
    generator = torch.Generator().manual_seed(1)
    u = true_sigma * torch.randn(1, 2, 128, 128, generator=generator)
    truth = torch.zeros_like(u)

    def loss(sigma: float) -> float:
        log_sigma = torch.full_like(u, math.log(sigma))
        return float(multiscale_loss([Estimate(u, log_sigma)], truth, [1.0], "mean", 1.0))

    right = loss(true_sigma)
    assert all(right < loss(true_sigma * factor) for factor in (0.5, 0.9, 1.1, 2.0))


def test_sigma_does_not_move_the_displacement() -> None:
    gradients = []
    for sigma_weight in (0.0, 5.0):
        u = field(0.3, 0.1).requires_grad_()
        log_sigma = torch.zeros_like(u).requires_grad_()
        estimates = [Estimate(u, log_sigma)]
        loss = multiscale_loss(estimates, field(0.0, 0.0), [1.0], "mean", sigma_weight)
        loss.backward()  # type: ignore[no-untyped-call]
        assert u.grad is not None
        assert log_sigma.grad is not None
        assert bool(log_sigma.grad.any()) == bool(sigma_weight)
        gradients.append(u.grad)
    torch.testing.assert_close(gradients[0], gradients[1], atol=0, rtol=0)


def test_outliers_do_not_steer_sigma() -> None:
    """One in two hundred is off by 1e4 px: the best sigma moves by per cents, not by thousands."""
    u = torch.randn(1, 2, 128, 128, generator=torch.Generator().manual_seed(2))
    u[..., ::200] = 1e4
    sigmas = torch.linspace(0.8, 1.25, 46).tolist()
    losses = [
        float(coverage_loss(u, torch.full_like(u, math.log(s)), torch.zeros_like(u)))
        for s in sigmas
    ]
    assert sigmas[losses.index(min(losses))] == pytest.approx(1.0, abs=0.08)


def test_error_power_weighs_pairs_by_their_relative_error() -> None:
    """Errors of 0.04 and 4 px: halving either is worth the same where the power is near zero."""

    def loss(small: float, large: float, power: float) -> float:
        u = torch.cat([field(small, 0.0), field(large, 0.0)])
        truth = torch.zeros_like(u)
        return float(multiscale_loss([Estimate(u)], truth, [1.0], "mean", 0, power)) / power

    for power, worth in ((1.0, 100.0), (0.5, 10.0), (0.01, 1.05)):
        whole = loss(0.04, 4.0, power)
        gain = (whole - loss(0.04, 2.0, power)) / (whole - loss(0.02, 4.0, power))
        assert gain == pytest.approx(worth, rel=0.05)


def test_one_weight_for_each_estimate() -> None:
    with pytest.raises(UsageError, match="2 estimates"):
        multiscale_loss([Estimate(field(0, 0))] * 2, field(0, 0), [1.0, 1.0, 1.0], "mean", 0)


def test_a_single_weight_is_that_of_the_last_estimate() -> None:
    estimates = [Estimate(field(5.0, 0.0)), Estimate(field(0.0, 2.0))]
    loss = multiscale_loss(estimates, field(0.0, 0.0), [3.0], "mean", 0)
    assert float(loss) == pytest.approx(6, rel=1e-5)
