"""The network before training: what its inputs mean, and that it can learn."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.architectures import build_network, parameter_count
from models.brightness import brightness_products
from models.cade_network import (
    SCALE_CHANNELS,
    STEP_PX,
    CadeNetwork,
    Pass,
    least_squares,
    scale_inputs,
)
from tests.speckle import moved, speckle

SMALL: dict[str, tuple[object, ...]] = {"channels": ((4, 6), (4, 6)), "blocks": (1, 1)}


def images(ux_px: float, uy_px: float, shape: tuple[int, int] = (64, 80)) -> list[torch.Tensor]:
    """Speckle of zero mean and unit contrast, and the same displaced, `(1, 1, H, W)`."""
    reference = (speckle(shape) - 1000) / 250
    sample = moved(reference, ux_px, uy_px)
    return [torch.from_numpy(i.copy()).float()[None, None] for i in (reference, sample)]


def passes(network: CadeNetwork) -> list[Pass]:
    return [p for p in network.passes if isinstance(p, Pass)]


def trained_a_little() -> CadeNetwork:
    """A small network whose head is no longer zero."""
    torch.manual_seed(0)
    network = CadeNetwork(**SMALL)  # type: ignore[arg-type]
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def test_products_are_those_of_the_brightness_equation() -> None:
    """On I = 3 + 2x + y moved right by 0.25 px: g = (2, 1), e = g·u = 0.5, away from the border."""
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(14.0), indexing="ij")
    reference = (3 + 2 * x + y)[None, None]
    products = brightness_products(reference, reference - 0.5)[..., 4:-4, 4:-4]
    m = (reference - 0.25)[..., 4:-4, 4:-4]
    expected = [4.0, 2.0, 1.0, 1.0, 0.5, 0.25, 0.5 * m[0, 0], m[0, 0] ** 2]
    for found, value in zip(products[0], expected, strict=True):
        torch.testing.assert_close(found, torch.as_tensor(value).expand_as(found))


@pytest.mark.parametrize("u", [(0.3, 0.0), (0.0, 0.3), (-0.2, 0.1), (0.25, -0.25)])
def test_least_squares_finds_a_shift(u: tuple[float, float]) -> None:
    """Within the damping of 2 % and the second order; positive = right and down."""
    products = brightness_products(*images(*u))[..., 4:-4, 4:-4]
    mean = products.mean(dim=(-2, -1), keepdim=True)
    found = least_squares(mean)[0, :2, 0, 0]
    assert found.tolist() == pytest.approx(list(u), abs=0.02)


def test_least_squares_where_there_is_nothing_is_finite_and_zero() -> None:
    solved = least_squares(torch.zeros(1, 8, 3, 3))
    assert bool(torch.isfinite(solved).all())
    assert float(solved[:, :2].abs().max()) == 0


def test_shapes() -> None:
    """Training needs every pass, evaluation the last one; only that one claims sigma."""
    network = trained_a_little().train()
    frames = torch.randn(2, 3, 1, 32, 48)
    first, last = network(frames[0], frames[1])
    assert first.u_px.shape == last.u_px.shape == last.log_sigma.shape == (3, 2, 32, 48)
    assert first.log_sigma is None
    (only,) = network.eval()(frames[0], frames[1])
    torch.testing.assert_close(only.u_px, last.u_px)
    torch.testing.assert_close(only.log_sigma, last.log_sigma)


def test_with_all_views_a_mirrored_pair_gives_the_mirrored_answer() -> None:
    network = CadeNetwork(**SMALL, views=4)  # type: ignore[arg-type]
    network.load_state_dict(trained_a_little().state_dict())
    pair = images(0.3, -0.2, (32, 48))
    with torch.inference_mode():
        (here,) = network.eval()(*pair)
        (there,) = network(*(i.flip(-1) for i in pair))
        (single,) = trained_a_little()(*pair)
    sign = torch.tensor([-1.0, 1.0])[:, None, None]
    torch.testing.assert_close(there.u_px.flip(-1) * sign, here.u_px, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(there.log_sigma.flip(-1), here.log_sigma, atol=1e-5, rtol=1e-4)
    assert float((single.u_px - here.u_px).abs().max()) > 1e-3


@pytest.mark.parametrize("views", [1, 4])
def test_a_start_is_added_and_the_rest_is_found_from_there(views: int) -> None:
    """A pair three pixels apart, started there, is the pair with no displacement."""
    network = CadeNetwork(**SMALL, views=views)  # type: ignore[arg-type]
    network.load_state_dict(trained_a_little().state_dict())
    reference, sample = images(0.2, 0.1, (80, 96))
    away = torch.roll(sample, (-2, 3), dims=(-2, -1))
    start = torch.tensor([3.0, -2.0]).reshape(1, 2, 1, 1).expand(1, 2, 80, 96)
    with torch.inference_mode():
        (near,) = network.eval()(torch.roll(reference, (-2, 3), dims=(-2, -1)), away)
        (far,) = network(reference, away, start)
    middle = (..., slice(32, 48), slice(32, 64))
    torch.testing.assert_close((far.u_px - start)[middle], near.u_px[middle], atol=3e-2, rtol=0)


def test_wide_windows_see_what_large_areas_agree_on() -> None:
    """A noisy shift of 0.2 px: each wider window of the coarsest level is nearer to it."""
    generator = torch.Generator().manual_seed(4)
    reference, sample = images(0.2, 0.0, (256, 256))
    noisy = [i + 0.4 * torch.randn(i.shape, generator=generator) for i in (reference, sample)]
    coarsest = scale_inputs(brightness_products(*noisy), 4)[-1][0]
    assert coarsest.shape == (3 * SCALE_CHANNELS, 16, 16)
    spreads = [float(coarsest[SCALE_CHANNELS * k].std()) for k in range(3)]
    assert spreads[0] > 1.5 * spreads[1] > 1.5 * 1.3 * spreads[2]


def test_default_size() -> None:
    assert parameter_count(build_network("cade", {})) / 1e6 == pytest.approx(1.2, abs=0.05)


def test_fresh_network_says_no_displacement() -> None:
    torch.manual_seed(0)
    for estimate in CadeNetwork()(*images(0.4, 0.0, (32, 32))):
        assert float(estimate.u_px.detach().abs().max()) == 0


def test_every_parameter_learns() -> None:
    network = trained_a_little().train()
    total = torch.zeros(())
    for estimate in network(*images(0.3, -0.2, (32, 32))):
        total = total + (estimate.u_px - 0.3).square().sum()
        if estimate.log_sigma is not None:
            total = total + estimate.log_sigma.square().sum()
    total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_each_pass_learns_from_its_own_estimate_only() -> None:
    """So a bad second pass cannot spoil the first one."""
    network = trained_a_little().train()
    _, last = network(*images(0.3, -0.2, (32, 32)))
    last.u_px.square().sum().backward()
    assert all(p.grad is None for p in network.passes[0].parameters())
    assert any(p.grad is not None for p in network.passes[1].parameters())


def test_the_claim_does_not_shape_the_displacement() -> None:
    network = trained_a_little().train()
    network(*images(0.3, -0.2, (32, 32)))[-1].log_sigma.square().sum().backward()
    learns = {name for name, p in network.named_parameters() if p.grad is not None}
    assert learns
    assert all(".claim." in name for name in learns)


def test_second_pass_sees_what_the_first_one_left() -> None:
    """With a first pass that says exactly the true u, the second one sees no difference at all."""
    network = trained_a_little().train()
    reference, sample = images(0.0, 0.0, (48, 48))
    whole = torch.roll(sample, 2, dims=-1)
    for parameter in passes(network)[0].head.parameters():
        torch.nn.init.zeros_(parameter)
    constant = STEP_PX * torch.atanh(torch.tensor(2.0 / STEP_PX))
    bias = passes(network)[0].head.bias
    assert bias is not None
    bias.data[:4] = constant  # pixel shuffle: four entries a channel
    seen: list[torch.Tensor] = []
    network.passes[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        first, _ = network(reference, whole)
    assert float((first.u_px[:, 0] - 2).abs().max()) < 1e-4
    full = seen[0][..., 4:-4, 4:-4]
    torch.testing.assert_close(full[:, 0], full[:, 1], atol=2e-3, rtol=0)
    assert float((full[:, 2] - 2).abs().max()) < 1e-4


def test_a_pass_moves_no_further_than_its_step() -> None:
    network = trained_a_little().train()
    for parameter in passes(network)[0].head.parameters():
        torch.nn.init.constant_(parameter, 100.0)
    with torch.inference_mode():
        first, _ = network(*images(0.0, 0.0, (32, 32)))
    assert float(first.u_px.abs().max()) <= STEP_PX


def test_a_frame_moved_by_whole_cells_gives_the_same_answer_moved() -> None:
    """Sixteen is what the network's levels divide a frame by."""
    network = trained_a_little()
    reference, sample = (functional.pad(i, (64, 64, 64, 64)) for i in images(0.3, -0.2, (32, 32)))
    with torch.inference_mode():
        here = network(reference, sample)[-1].u_px
        rolled = [torch.roll(i, (16, -16), dims=(-2, -1)) for i in (reference, sample)]
        there = network(*rolled)[-1].u_px
    middle = (..., slice(56, 104), slice(56, 104))
    back = torch.roll(there, (-16, 16), dims=(-2, -1))
    torch.testing.assert_close(back[middle], here[middle], atol=1e-4, rtol=0)
