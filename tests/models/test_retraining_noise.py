"""Drift and noise of repeated frames are found as they were made."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cade.errors import CadeError
from models.retraining.drift import DriftMeter
from models.retraining.noise import noise_of_spectrum, noise_of_variance, typical_counts
from models.retraining.noise import stated_noise as stated
from models.retraining.recordings import (
    MOST_DRIFT_PX,
    AveragedRecording,
    FrameFile,
    StoredAverage,
    average_recording,
    group_files,
)
from tests.models.beamline import SHAPE, frame_file, frames
from tests.speckle import moved, speckle


def averaged(file: FrameFile) -> AveragedRecording:
    [recording], _ = group_files([file])
    return average_recording(recording)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-1.7, 2.4), (21.3, -12.6)])
def test_shift_of_noisy_frames(shift: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    pattern = speckle(SHAPE, 4) / 1000
    first, second = (
        torch.from_numpy(rng.poisson(np.clip(image, 0, None) * 300).astype(np.float32))
        for image in (pattern, moved(pattern, *shift))
    )
    found = DriftMeter(first).shift(second)
    assert found.shares_speckle
    assert (found.x_px, found.y_px) == pytest.approx(shift, abs=0.05)
    assert found.repeats(MOST_DRIFT_PX) == (math.hypot(*shift) < MOST_DRIFT_PX)


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1])
def test_other_speckle_is_no_repeat(spread: float) -> None:
    """Not even where all frames share what pixels of different gain make of them."""
    gains = 1 + spread * np.random.default_rng(3).standard_normal(SHAPE)
    first, second = (
        torch.from_numpy((frames(1, seed=seed, noise_seed=seed)[0] * gains).astype(np.float32))
        for seed in (5, 6)
    )
    assert not DriftMeter(first).shift(second).repeats(MOST_DRIFT_PX)


@pytest.mark.parametrize("drift_px", [0.0, 0.15])
@pytest.mark.parametrize(("gain", "read"), [(1.0, 0.0), (2.0, 20.0)])
def test_noise_from_repeats(gain: float, read: float, drift_px: float) -> None:
    """Neither drift nor a flickering beam counts as noise."""
    photons = 500.0
    found = averaged(
        frame_file(frames(6, photons=photons, gain=gain, read=read, drift_px=drift_px))
    )
    signal = gain * photons
    expected = signal**2 / (gain * signal + read**2)
    assert found.noise.counts == pytest.approx(expected, rel=0.05)
    assert found.noise.gain == pytest.approx(gain, rel=0.15)
    assert found.noise.read == pytest.approx(read, abs=10)
    assert found.drift_px == pytest.approx(5 * drift_px, abs=0.05)
    assert found.frame_count == 6


def test_drift_is_taken_back() -> None:
    pattern = speckle(SHAPE, 3) / 1000
    found = averaged(frame_file(frames(6, photons=20_000, drift_px=0.3)))
    error = (found.mean / found.mean.mean()).numpy() - pattern / pattern.mean()
    assert error[8:-8, 8:-8].std() < 0.01
    blurred = frames(6, photons=20_000, drift_px=0.3).mean(axis=0)
    assert (blurred / blurred.mean() - pattern / pattern.mean())[8:-8, 8:-8].std() > 0.03


def test_noise_of_one_frame_is_guessed() -> None:
    found = averaged(frame_file(frames(1, photons=500)))
    assert found.noise.counts == pytest.approx(500, rel=0.3)
    assert math.isnan(found.noise.gain)
    assert "spectrum" in found.noise.origin
    assert noise_of_spectrum(torch.full(SHAPE, 100.0)).counts > 1e6


def test_outliers_and_dead_pixels_do_not_count() -> None:
    stack = frames(6, photons=500)
    rng = np.random.default_rng(9)
    for frame in stack:
        frame[rng.integers(0, 160, 5), rng.integers(0, 200, 5)] = 60_000
    stack[2, 30, 40] = np.nan
    found = averaged(frame_file(stack))
    assert found.noise.counts == pytest.approx(500, rel=0.07)
    assert torch.isnan(found.mean).sum() == 1


def test_dead_pixels_spread_where_frames_were_moved() -> None:
    stack = frames(3, drift_px=0.5)
    stack[:, 30, 40] = np.nan
    assert 9 <= int(torch.isnan(averaged(frame_file(stack)).mean).sum()) <= 60


def test_stored_variance() -> None:
    stack = frames(20, photons=400, gain=2.0)
    mean, variance = (torch.from_numpy(f) for f in (stack.mean(0), stack.var(0, ddof=1)))
    file = frame_file(stack.mean(0)[None])
    found = averaged(FrameFile(file.name, file.frames, StoredAverage(mean, variance, 20)))
    assert found.frame_count == 20
    # the 3 % flicker, squared and times the signal, is in the stored variance
    assert found.noise.counts == pytest.approx(1 / (1 / 400 + 0.03**2 / 2), rel=0.15)
    assert "stored variance of 20 frames" in found.noise.origin
    assert noise_of_variance(mean, torch.full(SHAPE, 1600.0), 20).counts == pytest.approx(
        400, rel=0.1
    )


def test_files_of_one_pattern_are_found() -> None:
    files = [
        frame_file(frames(1, seed=3, noise_seed=1), "a1.tif"),
        frame_file(frames(1, seed=8, noise_seed=2), "b1.tif"),
        frame_file(frames(1, seed=3, noise_seed=3), "a2.tif"),
    ]
    recordings, overlaps = group_files(files)
    assert [[f.name for f in r.files] for r in recordings] == [["a1.tif", "a2.tif"], ["b1.tif"]]
    assert not overlaps
    assert recordings[0].name == "a1.tif and 1 more"
    assert average_recording(recordings[0]).frame_count == 2


def test_moved_diffuser_is_another_pattern_that_overlaps() -> None:
    stack = frames(2, drift_px=30.0)
    recordings, overlaps = group_files(
        [frame_file(f[None], n) for f, n in zip(stack, "ab", strict=True)]
    )
    assert len(recordings) == 2
    assert overlaps[0, 1].x_px == pytest.approx(30, abs=0.1)


def test_shapes_that_differ_name_both_files() -> None:
    files = [frame_file(frames(1), "a.tif"), frame_file(frames(1, shape=(160, 192)), "b.tif")]
    with pytest.raises(CadeError, match=r"b\.tif: frames are \(160, 192\) px, those of a\.tif"):
        group_files(files)


def test_file_without_frames() -> None:
    with pytest.raises(CadeError, match=r"a\.npy: holds no frame"):
        group_files([frame_file(frames(0))])


def test_frame_of_another_pattern_in_a_stack() -> None:
    stack = np.concatenate([frames(2, seed=3), frames(1, seed=4)])
    with pytest.raises(CadeError, match=r"a\.npy: frame 2 .* does not repeat"):
        averaged(frame_file(stack))


def test_typical_counts_are_in_the_middle() -> None:
    assert typical_counts([stated(100), stated(400), stated(1e9)]) == pytest.approx(400)
