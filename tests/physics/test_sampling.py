"""What the wave field's sampling cannot hold is refused, with the sampling that would do."""

from __future__ import annotations

import math

import pytest
import torch

from cade.errors import UsageError
from simulator.diffuser import Sandpaper, diffuser_field
from simulator.optics import Optics
from simulator.sampling import check_detail, check_phase

OPTICS = Optics()
STEEPEST = math.pi * (1 - 1e-6)


def ramp(step_rad: float, axis: int) -> torch.Tensor:
    """A roof that rises and falls by so much from sample to sample: it repeats."""
    place = torch.arange(32, dtype=torch.float64)
    phase = step_rad * torch.minimum(place, 32 - place)
    return phase.expand(24, 32) if axis else phase.expand(24, 32).T


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_phase_step_on_both_sides_of_pi(axis: int, sign: int) -> None:
    check_phase(sign * ramp(STEEPEST, axis), OPTICS, "roof")
    with pytest.raises(UsageError, match=r"roof: .* 3.14 rad .* 1 µm .* at least 6 samples"):
        check_phase(sign * ramp(math.pi, axis), OPTICS, "roof")


@pytest.mark.parametrize(("step_rad", "wanted"), [(4.6, 6), (4.8, 8), (9.0, 12)])
def test_the_oversampling_named_would_do(step_rad: float, wanted: int) -> None:
    with pytest.raises(UsageError, match=f"at least {wanted} samples a pixel, not 4"):
        check_phase(ramp(step_rad, 1), OPTICS, "roof")
    check_phase(ramp(step_rad * 4 / wanted, 1), Optics(oversampling=wanted), "roof")


@pytest.mark.parametrize("axis", [0, 1])
def test_jump_across_the_border(axis: int) -> None:
    slope = torch.arange(32.0).expand(32, 32) / 10
    slope = slope if axis else slope.T
    check_phase(slope, OPTICS, "wedge")
    with pytest.raises(UsageError, match=r"wedge: .*jumps by 3.25 rad across the border"):
        check_phase(1.05 * slope, OPTICS, "wedge")


def test_a_share_may_be_steeper() -> None:
    phase = torch.zeros(100, 100)
    phase[50, 0:99:2] = 4.0  # 0.5 and 1 % of the steps
    check_phase(phase, OPTICS, "spikes", beyond=0.011)
    with pytest.raises(UsageError, match="changes by 4 rad"):
        check_phase(phase, OPTICS, "spikes", beyond=0.005)
    with pytest.raises(UsageError, match="changes by 4 rad"):
        check_phase(phase, OPTICS, "spikes")


def test_detail_takes_three_samples() -> None:
    check_detail(3 * OPTICS.pitch_m, OPTICS, "grains")
    with pytest.raises(UsageError, match=r"grains of 2.9 µm .* every 1 µm; .* at least 6 samples"):
        check_detail(2.9e-6, OPTICS, "grains")


@pytest.mark.parametrize(
    ("paper", "message"),
    [
        (Sandpaper(30e-6, height=3.0, layers=1), r"Sandpaper: its phase changes by 4.\d+ rad"),
        # Every layer is flat enough, but their sum is not.
        (Sandpaper(30e-6, height=1.2, layers=30), r"Sandpaper: its phase changes by [34].\d+ rad"),
        (Sandpaper(2e-6), "grains of 2 µm"),
        (Sandpaper(1e-3), "do not fit into a wave field of 256 µm"),
    ],
)
def test_diffusers_the_sampling_cannot_hold(paper: Sandpaper, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        diffuser_field(paper, OPTICS, (256, 256), torch.Generator().manual_seed(0))


def test_free_space_between_layers_is_checked() -> None:
    coarse = Optics(oversampling=16, pixel_size_m=6e-6, energy_ev=30e3)
    paper = Sandpaper(2e-6, height=0.1, carrier_m=0.05)
    with pytest.raises(UsageError, match=r"cannot hold the phase of 0.05 m of free space"):
        diffuser_field(paper, coarse, (64, 64), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("height", [0.7, 1.2])
def test_the_default_patterns_are_held(height: float) -> None:
    for grain_m in (8e-6, 120e-6):
        paper = Sandpaper(grain_m, height)
        field = diffuser_field(paper, OPTICS, (256, 256), torch.Generator().manual_seed(0))
        power = torch.fft.fft2(field).abs().square()
        edge = torch.fft.fftfreq(256).abs() > 0.45
        outermost = power[edge[:, None] | edge[None, :]].sum() / power.sum()
        assert float(outermost) < 0.01  # nothing to speak of at the border of the spectrum
