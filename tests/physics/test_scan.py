"""Emulated scans: counts, roles, truth without frames, and reproducibility."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from cade.frames import Role
from simulator.scan import DEMO_COUNTS, demo_frames, demo_scan, sine_scan

SHAPE = (48, 60)


def test_references_come_first_then_samples() -> None:
    frames = list(demo_frames(3, SHAPE, seed=4))
    assert [role for role, _ in frames] == [Role.REFERENCE] * 4 + [Role.SAMPLE] * 3
    for _, image in frames:
        assert image.shape == SHAPE
        assert image.dtype == np.uint16


def test_frames_are_reproducible_in_any_order() -> None:
    frames = [image for role, image in demo_frames(3, SHAPE, seed=4) if role is Role.SAMPLE]
    scan = demo_scan(SHAPE, seed=4)
    for index in (2, 0, 1):
        np.testing.assert_array_equal(scan.sample(index), frames[index])
    assert not np.array_equal(frames[0], demo_scan(SHAPE, seed=5).sample(0))


def test_references_differ_by_noise_only() -> None:
    images = np.stack(list(demo_scan(SHAPE).references(8))).astype(float)
    assert images.mean() == pytest.approx(DEMO_COUNTS, rel=0.01)
    noise = images.var(axis=0, ddof=1) / images.mean(axis=0)
    assert noise.mean() == pytest.approx(1, abs=0.05)


def test_one_frame_in_eight_is_propagated() -> None:
    scan = demo_scan(SHAPE)
    assert [index for index in range(20) if scan.propagated(index)] == [0, 8, 16]
    assert all(sine_scan((32, 400)).propagated(index) for index in range(3))


def test_truth_needs_no_diffuser() -> None:
    scan = demo_scan((512, 512))
    found = scan.truth(3)
    assert "_field" not in vars(scan)
    for field in (found.phase_rad, found.ux_px, found.uy_px):
        assert field.shape == (512, 512)
        assert field.dtype == torch.float32
    assert float(torch.hypot(found.ux_px, found.uy_px).max()) == pytest.approx(0.9, rel=0.01)


def test_truth_moves_with_the_phantom() -> None:
    truths = [demo_scan(SHAPE).truth(index) for index in (0, 1)]
    assert not torch.equal(truths[0].ux_px, truths[1].ux_px)
    assert torch.equal(truths[1].ux_px, demo_scan(SHAPE).truth(1).ux_px)


@pytest.mark.parametrize("index", [0, 1])
def test_truth_explains_the_frame(index: int) -> None:
    """A linearised fit of both kinds of frame finds the truth with a slope near one."""
    scan = demo_scan((96, 96), seed=1)
    reference = np.mean([image.astype(float) for image in scan.references(20)], axis=0)
    sample = scan.sample(index).astype(float)
    truth = scan.truth(index)
    gy, gx = np.gradient(reference)
    ux, uy = truth.ux_px.numpy(), truth.uy_px.numpy()
    moved = -(gx * ux + gy * uy)
    slope = float((moved * (sample - reference)).sum() / (moved**2).sum())
    assert 0.6 < slope < 1.1  # linearised, of displacements up to a quarter of a speckle
    for wrong in (-(gx * uy + gy * ux), gx * ux - gy * uy):
        other = float((wrong * (sample - reference)).sum() / (wrong**2).sum())
        assert abs(other) < 0.5 * slope


def test_odd_shapes_and_long_scans() -> None:
    frames = demo_frames(10_000, (50, 61))
    shapes = {image.shape for _, image in itertools.islice(frames, 6)}
    assert shapes == {(50, 61)}
    frames.close()  # type: ignore[attr-defined]
