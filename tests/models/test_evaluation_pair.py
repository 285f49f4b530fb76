"""A user's pair: what is refused, and what the numbers mean."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cade.displacement import Displacement
from cade.errors import CadeError, UsageError
from models.evaluation.pair import (
    Pair,
    check_pair,
    flattest_block,
    pair_row,
    read_truth,
    robust_std,
    speckle_visibility,
    tracked,
)
from models.evaluation.unseen import shifted_pair
from models.zncc_tracker import ZnccTracker
from simulator.pattern import at_pixels, reference_patterns

ZNCC = ZnccTracker(torch.device("cpu"), 15)
SHAPE = (96, 96)


@pytest.fixture(scope="module")
def frames() -> tuple[torch.Tensor, torch.Tensor]:
    pattern = reference_patterns(1, SHAPE, seed=12)[0]
    return shifted_pair(pattern, (0.4, -0.2), 1e4, 0.8, torch.Generator().manual_seed(1))


def constant(x: float, y: float) -> torch.Tensor:
    return torch.tensor([x, y])[:, None, None].expand(2, *SHAPE)


def test_errors_against_truth(frames: tuple[torch.Tensor, torch.Tensor]) -> None:
    pair = Pair(*frames, constant(0.4, -0.2))
    found = tracked(ZNCC, pair, "zncc 15")
    row = pair_row(found, pair, {"zncc": found})
    assert row.bias_x_px < 0.02
    assert row.bias_y_px < 0.02
    assert row.epe_px < 0.1
    assert (row.to_zncc_x_px, row.to_zncc_y_px) == (0, 0)
    assert math.isnan(row.to_umpa_x_px)
    opposite = pair_row(found, Pair(*frames, constant(-0.4, 0.2)), {})
    assert opposite.bias_x_px == pytest.approx(0.8, abs=0.02)
    assert opposite.bias_y_px == pytest.approx(0.4, abs=0.02)


def test_unknown_truth_is_left_out(frames: tuple[torch.Tensor, torch.Tensor]) -> None:
    truth = constant(0.4, -0.2).clone()
    truth[0, :40] = torch.nan
    pair = Pair(*frames, truth)
    row = pair_row(tracked(ZNCC, pair, "zncc 15"), pair, {})
    assert row.bias_x_px < 0.03
    assert row.epe_px < 0.1


def test_without_truth_there_are_proxies(frames: tuple[torch.Tensor, torch.Tensor]) -> None:
    pair = Pair(*frames, free=(10, 80, 10, 80))
    row = pair_row(tracked(ZNCC, pair, "zncc 15"), pair, {})
    assert math.isnan(row.rmse_x_px)
    assert math.isnan(row.epe_px)
    assert 0 < row.free_x_px < 0.05


def test_flattest_block_is_where_nothing_varies() -> None:
    generator = torch.Generator().manual_seed(2)
    u = torch.randn((130, 200), generator=generator)
    u[64:128, 128:192] *= 0.01
    valid = torch.ones_like(u, dtype=torch.bool)
    flat = Displacement(torch.zeros_like(u), torch.zeros_like(u), valid)
    # A field that sees nothing anywhere does not choose.
    assert flattest_block([flat, Displacement(u, u, valid)]) == (64, 128, 128, 192)


def test_robust_std() -> None:
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(4))
    values[:200] = 1e6
    values[200:300] = torch.nan
    assert robust_std(values) == pytest.approx(1.0, abs=0.03)
    assert math.isnan(robust_std(torch.full((3,), torch.nan)))


def noise(counts: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.poisson(torch.full((128, 160), counts), generator=generator)


def test_visibility_is_that_of_speckle_not_of_noise() -> None:
    assert speckle_visibility(noise(100.0)) < 0.01  # 10 % noise
    assert speckle_visibility(torch.zeros(64, 64)) == 0
    assert speckle_visibility(torch.full((64, 64), torch.nan)) == 0
    pattern = at_pixels(reference_patterns(1, SHAPE, seed=12)[0])
    assert speckle_visibility(pattern) > 0.1
    slope = torch.linspace(1, 3, 160).expand(128, 160) * noise(1000.0)
    assert speckle_visibility(slope) < 0.01  # the beam's profile is no speckle either


@pytest.mark.parametrize("role", ["reference", "sample"])
def test_frames_without_speckle(role: str, frames: tuple[torch.Tensor, torch.Tensor]) -> None:
    flat = noise(1000.0)[:96, :96]
    pair = Pair(flat, frames[1]) if role == "reference" else Pair(frames[0], flat)
    with pytest.raises(CadeError, match=f"the {role} shows no speckle"):
        check_pair(pair)
    check_pair(Pair(*frames))


def test_speckle_of_another_reference(frames: tuple[torch.Tensor, torch.Tensor]) -> None:
    other = at_pixels(reference_patterns(2, SHAPE, seed=12)[1])
    with pytest.raises(CadeError, match="does not show the speckle"):
        tracked(ZnccTracker(torch.device("cpu"), 25), Pair(other, frames[1]), "zncc 25")


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (lambda r, s: Pair(r, s[:-1]), "do not match"),
        (lambda r, s: Pair(r, s, torch.zeros(2, 96, 95)), "do not belong"),
        (lambda r, s: Pair(r, s, None, (0, 97, 0, 10)), "no region"),
        (lambda r, s: Pair(r, s, None, (5, 5, 0, 10)), "no region"),
    ],
)
def test_refused(pair: object, words: str, frames: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert callable(pair)
    with pytest.raises(UsageError, match=words):
        check_pair(pair(*frames))


def test_truth_file(tmp_path: Path) -> None:
    path = tmp_path / "u.npz"
    np.savez(path, ux_px=np.ones((4, 5)), uy_px=np.zeros((4, 5), int))
    assert read_truth(path).shape == (2, 4, 5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"ux_px": np.ones((4, 5))}, "has no uy_px"),
        ({"ux_px": np.ones((4, 5)), "uy_px": np.ones((5, 4))}, "two images"),
        ({"ux_px": np.ones(4), "uy_px": np.ones(4)}, "two images"),
        ({"ux_px": np.ones((4, 5), complex), "uy_px": np.ones((4, 5))}, "real numbers"),
        ({"ux_px": np.array([[None]]), "uy_px": np.array([[None]])}, "not an .npz file of numbers"),
    ],
)
def test_truth_that_is_none(content: dict[str, object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "u.npz"
    np.savez(path, **content)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words):
        read_truth(path)


def test_no_truth_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_truth(tmp_path / "missing.npz")
    (tmp_path / "u.npz").write_bytes(b"PK\x03\x04 no zip at all")
    with pytest.raises(UsageError, match=r"not an \.npz"):
        read_truth(tmp_path / "u.npz")
