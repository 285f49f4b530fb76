"""The optimiser of kernels: what a step is, and that nothing moves on a bad gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.training.muon import STEP_RMS, Muon, orthogonalised


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(6, 4, 1))


def learn(net: nn.Sequential, optimiser: torch.optim.Optimizer, steps: int) -> list[float]:
    x = torch.randn(8, 2, 12, 12, generator=torch.Generator().manual_seed(5))
    wanted = x.roll(1, dims=-1).repeat(1, 2, 1, 1)
    losses = []
    for _ in range(steps):
        loss = (net(x) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("shape", [(6, 18), (18, 6), (5, 5)])
def test_singular_values_come_near_to_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert float(values.min()) > 0.4
    assert float(values.max()) < 1.4
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    direction = torch.nn.functional.cosine_similarity(
        orthogonalised(matrix).flatten(), (u @ v).flatten(), dim=0
    )
    assert float(direction) > 0.95


def test_a_step_has_the_size_that_the_rate_says() -> None:
    net = network()
    before = net[0].weight.detach().clone()  # type: ignore[operator]
    learn(net, Muon(net, lr=0.01, weight_decay=0.0), 1)
    change = net[0].weight.detach() - before  # type: ignore[operator]
    # 6 singular values of about one on 6 × 18 entries, times √18.
    assert float(change.square().mean().sqrt()) == pytest.approx(0.01 * STEP_RMS, rel=0.3)


def test_it_learns() -> None:
    net = network()
    losses = learn(net, Muon(net, lr=0.05, weight_decay=1e-4), 60)
    assert losses[-1] < 0.3 * losses[0]


def test_a_bad_gradient_moves_nothing() -> None:
    net = network()
    optimiser = Muon(net, lr=0.01, weight_decay=0.1)
    learn(net, optimiser, 2)
    before = copy.deepcopy((net.state_dict(), optimiser.state_dict()["state"]))
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    optimiser.found_inf = torch.ones(())  # type: ignore[attr-defined]
    optimiser.step()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[0][name], rtol=0, atol=0)
    momentum = [s["momentum"] for s in optimiser.state_dict()["state"].values() if "momentum" in s]
    assert momentum
    assert all(bool(torch.isfinite(m).all()) for m in momentum)
    optimiser.found_inf = torch.zeros(())  # type: ignore[attr-defined]
    learn(net, optimiser, 1)
    assert not torch.equal(net.state_dict()["0.weight"], before[0]["0.weight"])


def test_its_state_goes_through_a_checkpoint() -> None:
    one, two = network(), network()
    first = Muon(one, lr=0.02, weight_decay=0.0)
    learn(one, first, 3)
    second = Muon(two, lr=0.02, weight_decay=0.0)
    two.load_state_dict(one.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert learn(one, first, 3) == learn(two, second, 3)


def test_what_does_not_learn_stays() -> None:
    net = network()
    net[0].requires_grad_(requires_grad=False)
    before = net[0].weight.clone()  # type: ignore[operator]
    learn(net, Muon(net, lr=0.05, weight_decay=0.1), 3)
    assert torch.equal(net[0].weight, before)  # type: ignore[arg-type]
