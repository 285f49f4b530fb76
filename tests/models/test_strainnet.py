"""StrainNet-f: the sizes of the paper's network, and what comes out of it."""

from __future__ import annotations

import pytest
import torch

from cade.errors import UsageError
from models.architectures import ARCHITECTURES, build_network, parameter_count
from models.strainnet import StrainNet
from tests.speckle import moved, speckle


@pytest.mark.parametrize(("width", "millions"), [(1.0, 38.7), (0.25, 2.4)])
def test_parameters(width: float, millions: float) -> None:
    assert parameter_count(StrainNet(width)) / 1e6 == pytest.approx(millions, abs=0.05)


def test_layers_are_those_of_the_table() -> None:
    """Channels, kernel and stride of the encoder, channels of the decoder, from the paper."""
    network = StrainNet()
    convolutions = [m for m in network.encode if isinstance(m, torch.nn.Conv2d)]
    table = [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in convolutions]
    assert table == [
        (64, 7, 1), (128, 5, 1), (256, 5, 2), (256, 3, 1), (512, 3, 2),
        (512, 3, 1), (512, 3, 2), (512, 3, 1), (1024, 3, 2), (1024, 3, 1),
    ]  # fmt: skip
    grow = [m for m in network.grow if isinstance(m, torch.nn.ConvTranspose2d)]
    assert [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in grow] == [
        (512, 4, 2), (256, 4, 2), (128, 4, 2), (64, 4, 2),
    ]  # fmt: skip
    assert (len(network.heads), len(network.grow_flow)) == (5, 4)
    assert not [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]


def test_estimates_come_from_coarse_to_full_resolution() -> None:
    torch.manual_seed(0)
    frames = torch.randn(2, 2, 1, 32, 48)
    estimates = StrainNet(0.05)(frames[0], frames[1])
    assert [tuple(e.u_px.shape) for e in estimates] == [
        (2, 2, 32 // n, 48 // n) for n in (16, 8, 4, 2, 1)
    ]
    assert all(e.log_sigma is None for e in estimates)


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = StrainNet(0.05)
    frames = torch.randn(2, 1, 1, 32, 32)
    sum(e.u_px.square().sum() for e in network(frames[0], frames[1])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_networks_are_built_by_name() -> None:
    assert isinstance(build_network("strainnet-f", {"width": 0.05}), StrainNet)
    assert set(ARCHITECTURES) == {"cade", "strainnet-f"}


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [("unet", {}, "strainnet-f"), ("strainnet-f", {"depth": 3}, "depth")],
)
def test_unknown_networks_and_options(name: str, options: dict[str, int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        build_network(name, options)


def test_a_start_is_where_it_begins() -> None:
    """It sees the reference displaced by the start, and says the whole displacement."""
    torch.manual_seed(0)
    network = StrainNet(0.05).eval()
    for parameter in network.heads[-1].parameters():
        torch.nn.init.zeros_(parameter)
    bias = network.heads[-1].bias
    assert isinstance(bias, torch.Tensor)
    bias.data[0] = 0.5
    x = torch.arange(64.0).expand(1, 48, 64)
    start = torch.stack([5 + 0.1 * x, torch.full_like(x, -2.0)], dim=1)
    seen: list[torch.Tensor] = []
    network.encode[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frames = [moved(speckle((48, 64)), *u) for u in ((0.0, 0.0), (5.0, -2.0))]
    reference, sample = (torch.from_numpy(i).float()[None, None] / 1000 - 1 for i in frames)
    with torch.inference_mode():
        network(reference, sample, torch.zeros_like(start) + start[:, :, :1, :1])
        found = network(reference, sample, start)[-1].u_px
    inner = (slice(16, -16), slice(16, -16))
    torch.testing.assert_close(seen[0][0, 0][inner], seen[0][0, 1][inner], atol=0.01, rtol=0)
    # u(x) = v + start(x − v): half a pixel to the left, the start is 0.05 px smaller.
    expected = start[0] + torch.tensor([0.5 - 0.05, 0.0])[:, None, None]
    torch.testing.assert_close(found[0][..., 1:], expected[..., 1:], atol=1e-4, rtol=0)
