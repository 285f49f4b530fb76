"""Emulated scans: counts, roles, truth without frames, and reproducibility."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from cade.errors import UsageError
from cade.frames import Role
from simulator.detector import Detector
from simulator.materials import material
from simulator.optics import Optics
from simulator.scan import DEMO_COUNTS, Scan, demo_frames, demo_scan, sine_scan
from simulator.spectrum import Spectrum
from simulator.sphere_phantom import Sphere, SpherePhantom

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


def still_scan(
    optics: Optics | None = None,
    detector: Detector | None = None,
    counts: float = 2000,
    propagate_every: int = 1,
    heavier: float = 1,
) -> Scan:
    """A sphere of alumina at rest."""
    optics = optics or Optics()
    pitch_m = optics.geometry.sample_pixel_m
    size_m = (SHAPE[0] * pitch_m, SHAPE[1] * pitch_m)
    sphere = Sphere(30 * pitch_m, 24 * pitch_m, 12 * pitch_m)
    alumina = material("alumina", optics.energy_ev)
    made_of = replace(alumina, delta=heavier * alumina.delta)
    ball = SpherePhantom(made_of, (sphere,), size_m)
    return Scan(
        lambda _: ball,
        SHAPE,
        1,
        optics=optics,
        counts=counts,
        propagate_every=propagate_every,
        detector=detector,
    )


def test_flats_and_darks() -> None:
    scan = still_scan(detector=Detector(gain=3, dark_level=100, read_noise=5))
    [flat], [dark], [reference] = (
        [image.astype(float) for image in images]
        for images in (scan.flats(1), scan.darks(1), scan.references(1))
    )
    assert dark.mean() == pytest.approx(100, abs=0.5)
    assert reference.mean() == pytest.approx(100 + 3 * 2000, rel=0.01)
    # The diffuser takes light away, and adds structure.
    assert flat.mean() > 1.05 * reference.mean()
    assert flat.std() < 0.1 * reference.std()
    assert flat.var() == pytest.approx(9 * (flat.mean() - 100) / 3 + 25, rel=0.1)


def test_a_sample_at_rest_differs_by_noise_only() -> None:
    scan = still_scan()
    first, second = (scan.sample(index).astype(float) for index in (0, 1))
    assert (first - second).var() == pytest.approx(first.mean() + second.mean(), rel=0.1)
    assert scan.truth(0) is scan.truth(1)
    np.testing.assert_array_equal(still_scan().sample(1), second)


def test_speckle_is_that_of_the_reference() -> None:
    speckle = still_scan().speckle()
    [reference] = still_scan(counts=20_000).references(1)
    assert speckle.visibility == pytest.approx(reference.std() / reference.mean(), rel=0.02)
    assert 2.5 < speckle.fwhm_px < 4


@pytest.mark.parametrize(
    ("scan", "complaint"),
    [
        (still_scan(), None),
        (still_scan(heavier=20), "its phase changes by"),
        (still_scan(Optics(distance_m=60.0, source_distance_m=60.0)), "cannot hold the phase"),
        (still_scan(propagate_every=8), "rays cross at its edges"),
        (still_scan(counts=7e4), "at or above saturation"),
        (still_scan(counts=7e4, detector=Detector(dtype="uint32")), None),
        (still_scan(Optics(spectrum=Spectrum(((29e3, 1.0), (31e3, 1.0))))), "one energy"),
    ],
    ids=["good", "steep", "free space", "edges", "saturated", "deep", "spectrum"],
)
def test_checks_before_any_work(scan: Scan, complaint: str | None) -> None:
    if complaint is None:
        scan.check()
    else:
        with pytest.raises(UsageError, match=complaint):
            scan.check()
    assert "_field" not in vars(scan)
