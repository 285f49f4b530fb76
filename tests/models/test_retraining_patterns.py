"""References as patterns at two samples a pixel, cut so that what is held back stays unseen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cade.errors import CadeError
from models.retraining import gather_material
from models.retraining.drift import Shift
from models.retraining.measured_pattern import (
    MeasuredPattern,
    denoised,
    measured_pattern,
    upsampled,
)
from models.retraining.noise import stated_noise
from models.retraining.pieces import LEAST_CROP_PX, Place, cut_patterns
from models.retraining.recordings import AveragedRecording, average_recording, group_files
from simulator.pattern import Speckle, at_pixels
from tests.models.beamline import SHAPE, frame_file, frames
from tests.speckle import moved, speckle


def average(image: torch.Tensor, counts: float = 1e4, frame_count: int = 1) -> AveragedRecording:
    return AveragedRecording("a.npy", image.float(), frame_count, 0.0, stated_noise(counts))


def pattern_of(image: torch.Tensor, counts: float = 1e4, **more: int) -> MeasuredPattern:
    found = average(image, counts, **more)
    return measured_pattern(found, found.noise)


def plain(seed: int = 1, shape: tuple[int, int] = SHAPE) -> torch.Tensor:
    return torch.from_numpy(speckle(shape, seed) / 1000)


def test_upsampling_keeps_the_pixels_and_finds_what_lies_between() -> None:
    image = plain()
    fine = upsampled(image)
    assert fine.shape == (320, 400)
    assert torch.allclose(at_pixels(fine), image)
    between = torch.from_numpy(moved(image.numpy(), -0.5, 0))
    assert (fine[::2, 1::2] - between)[:, 8:-8].std() < 1e-3
    below = torch.from_numpy(moved(image.numpy(), 0, -0.5))
    assert (fine[1::2, ::2] - below)[8:-8].std() < 1e-3


def test_wiener_filter_takes_out_noise_and_leaves_speckle() -> None:
    image = plain()
    noise = 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    before, after = noise.std(), (denoised(image.float() + noise, 0.01) - image).std()
    assert after < 0.6 * before
    assert (denoised(image.float(), 0.0) - image).abs().max() < 1e-4
    assert denoised(1 + noise, 0.01).std() < 0.3 * before


def test_beam_profile_and_gain_are_divided_out() -> None:
    image, profile = plain(), torch.linspace(0.4, 1.6, 200)[None, :] * 900
    found = pattern_of(image * profile)
    assert (at_pixels(found.samples) - image)[16:-16, 16:-16].std() < 0.05
    assert found.samples.mean() == pytest.approx(1, abs=0.02)
    assert found.speckle.visibility == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("drift_px", [0.0, 0.3])
def test_gain_of_the_pixels_is_divided_out(drift_px: float) -> None:
    """Before frames are moved, and without counting as noise or as drift."""
    gains = 1 + 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    gains[40, 50] = torch.nan
    stack = frames(6, photons=20_000, drift_px=drift_px) * gains.nan_to_num(1).numpy()
    file = frame_file(stack.astype(np.float32))
    [recording], _ = group_files([file], 1 / gains)
    found = average_recording(recording, 1 / gains)
    assert found.drift_px == pytest.approx(5 * drift_px, abs=0.05)
    assert found.noise.counts == pytest.approx(20_000, rel=0.15)
    pattern = measured_pattern(found, found.noise)
    error = at_pixels(pattern.samples) - at_pixels(pattern_of(plain(3)).samples)
    assert error[16:-16, 16:-16].std() < 0.015
    assert not pattern.good[40, 50]


def test_visibility_is_without_the_noise() -> None:
    """Noise of 10 % on speckle of 5 %."""
    image = 1 + 0.2 * (plain() - 1)
    noise = 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    assert pattern_of(image + noise, counts=100).speckle.visibility == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("strength", [0.0, 0.04, 0.12])
def test_no_usable_speckle(strength: float) -> None:
    """Visibility 0, 1 and 3 %, under noise of 1 %."""
    noise = 0.01 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    image = 1 + strength * (plain() - 1) + noise
    if strength > 0.08:
        assert pattern_of(image).speckle.visibility == pytest.approx(0.03, abs=0.003)
        return
    with pytest.raises(CadeError, match=r"a\.npy: visibility is \d\.\d% .* no usable speckle"):
        pattern_of(image)


def test_pixels_of_different_gain_are_no_speckle() -> None:
    gains = 1 + 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    with pytest.raises(CadeError, match=r"structure is 1\.\d px wide, .* no usable speckle"):
        pattern_of(gains)


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_dead_pixels(share: float) -> None:
    image = plain()
    dead = torch.rand(SHAPE, generator=torch.Generator().manual_seed(6)) < share
    spoilt = torch.where(dead, torch.nan, image)
    if share > 0.2:
        with pytest.raises(CadeError, match=r"a\.npy: 30% of the pixels are dead"):
            pattern_of(spoilt)
        return
    found = pattern_of(spoilt)
    assert torch.isfinite(found.samples).all()
    assert (at_pixels(found.samples) - image)[16:-16, 16:-16].std() < 0.06
    assert not found.good[dead].any()


def test_no_light() -> None:
    with pytest.raises(CadeError, match="no light above the dark"):
        pattern_of(-plain())


def fake(index: int, shape: tuple[int, int] = (128, 480)) -> MeasuredPattern:
    """A pattern whose every pixel says where it is."""
    rows, columns = torch.meshgrid(*(torch.arange(2 * n) for n in shape), indexing="ij")
    where = rows // 2 * 1000 + columns // 2 + 1e6 * index
    wiggle = 1 + 0.5 * ((rows // 8 + columns // 8) % 2)
    return MeasuredPattern(
        f"{index}.npy", where * wiggle, torch.ones(shape).bool(), Speckle(4, 0.2)
    )


def test_pieces_do_not_overlap_and_the_end_is_held_back() -> None:
    pieces = cut_patterns([fake(1), fake(2)], {})
    assert pieces.shape_px == (128, 120)
    assert (len(pieces.training), len(pieces.held_back)) == (6, 2)
    assert pieces.crop_px(112) == 96
    assert pieces.crop_px(48) == 48
    for stack in (pieces.training, pieces.held_back):
        assert stack.mean(dim=(1, 2)) == pytest.approx(1)


@pytest.mark.parametrize("turned", [False, True])
def test_the_held_back_end_lies_on_the_longer_side(turned: bool) -> None:
    image = plain(1, (128, 480))
    image[:, 360:] = 1 + 0.5 * (image[:, 360:] - 1)  # lower visibility at the end
    image = image.T.contiguous() if turned else image
    pieces = cut_patterns([pattern_of(image)], {})
    spread = pieces.held_back.std(dim=(1, 2))
    assert spread.max() < 0.17 < pieces.training.std(dim=(1, 2)).min()


def test_dark_and_dead_pieces_are_left_out() -> None:
    pattern = fake(1)
    pattern.good[:, 360:] = False
    pattern.good[:, :100] = False
    pieces = cut_patterns([pattern], {})
    assert (len(pieces.training), len(pieces.held_back)) == (1, 1)
    pattern.good[:, 240:] = False
    with pytest.raises(CadeError, match="only 1 of 4 parts"):
        cut_patterns([pattern], {})


@pytest.mark.parametrize(("x_px", "left"), [(0.0, 6), (121.0, 4), (-121.0, 4), (500.0, 6)])
def test_what_shows_the_held_back_speckle_elsewhere_is_not_trained_on(
    x_px: float, left: int
) -> None:
    """The second pattern is the first, moved by more than a piece: two pieces give it away."""
    shift = {(0, 1): Shift(x_px, 0.0, 0.9, 50.0)}
    assert len(cut_patterns([fake(1), fake(2)], shift).training) == left


def test_place_touches() -> None:
    here = Place(10, 10, 20, 20)
    assert here.touches(here, Shift(0, 0, 1, 9))
    assert not here.touches(here, Shift(10, 0, 1, 9))
    assert not Place(30, 10, 40, 20).touches(here, Shift(0, 0, 1, 9))
    assert Place(30, 10, 40, 20).touches(here, Shift(15, 0, 1, 9))  # x in the moved is x − 15


@pytest.mark.parametrize(("side", "fits"), [(87, False), (96, True)])
def test_small_frames(side: int, fits: bool) -> None:
    pattern = fake(1, (side, side))
    if not fits:
        with pytest.raises(CadeError, match="too small"):
            cut_patterns([pattern], {})
        return
    pieces = cut_patterns([pattern], {})
    assert pieces.crop_px(112) == LEAST_CROP_PX
    assert len(pieces.training) + len(pieces.held_back) == 4


def test_material_of_a_beamline() -> None:
    files = [frame_file(frames(4, seed=s, noise_seed=s), f"{s}.npy") for s in (3, 4)]
    said: list[str] = []
    material = gather_material(files, report=said.append)
    assert material.counts == pytest.approx(500, rel=0.05)
    assert len(material.pieces.training) == 6
    assert [row["frames"] for row in material.patterns] == [4, 4]
    assert not material.remarks
    assert "4 frames" in said[0]
    assert "N0 = " in said[0]


def test_stated_counts_win_and_guesses_are_remarked() -> None:
    single = [frame_file(frames(1))]
    assert any("guess" in remark for remark in gather_material(single).remarks)
    known = gather_material(single, counts=450.0)
    assert known.counts == pytest.approx(450)
    assert not known.remarks


def test_fine_speckle_is_remarked() -> None:
    noise = torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(7))[:, None]
    fine = torch.nn.functional.avg_pool2d(noise, 2, 1)[0]
    image = torch.nn.functional.pad(1 + 0.3 * fine, (0, 1, 0, 1), mode="replicate").numpy()
    material = gather_material([frame_file(np.asarray(image, np.float32) * 1000)], counts=1e5)
    assert any("finer than" in remark for remark in material.remarks)


def test_overlap_is_remarked() -> None:
    stack = frames(2, drift_px=25.0)
    files = [frame_file(f[None], n) for f, n in zip(stack, ("a", "b"), strict=True)]
    assert any("same speckle" in remark for remark in gather_material(files, counts=500).remarks)
