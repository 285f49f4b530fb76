"""What every tracker promises, whatever it does inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cade.displacement import Displacement
from cade.errors import UsageError
from models import TRACKERS, Tracker, load_tracker
from models.cade_tracker import CadeTracker
from models.tracker import LEAST_SIDE_PX, STACK_TRACKERS
from tests.speckle import counts, moved, speckle

SHAPE = (96, 112)
INNER = (slice(16, -16), slice(16, -16))
TRANSMISSION = 0.7


@cache
def load(name: str) -> Tracker:
    return load_tracker(name, device="cpu")


@pytest.fixture(params=TRACKERS)
def tracker(request: pytest.FixtureRequest) -> Tracker:
    return load(request.param)


def frames(
    ux_px: float = 0.0, uy_px: float = 0.0, transmission: float = 1.0, counts_: float = 1e4
) -> list[NDArray[Any]]:
    """A pair of the same speckle with independent noise."""
    generator = np.random.default_rng(4)
    reference = speckle(SHAPE) / 1000 * counts_
    sample = transmission * moved(reference, ux_px, uy_px)
    return [generator.poisson(i).astype(np.float32) for i in (reference, sample)]


def fields(found: Displacement[Any]) -> dict[str, Any]:
    values = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
    return {k: v for k, v in values.items() if v is not None and k != "valid"}


def agree(one: Displacement[Any], other: Displacement[Any], tolerance: float = 1e-5) -> None:
    assert np.array_equal(np.asarray(one.valid), np.asarray(other.valid))
    for name, value in fields(one).items():
        np.testing.assert_allclose(
            np.asarray(value), np.asarray(getattr(other, name)), atol=tolerance, rtol=tolerance
        )


def test_numpy_in_numpy_out(tracker: Tracker) -> None:
    found = tracker.track(*frames())
    assert found.valid.dtype == np.bool_
    for name, value in fields(found).items():
        assert isinstance(value, np.ndarray), name
        assert (value.dtype, value.shape) == (np.float32, SHAPE), name
    assert found.transmission is not None
    assert found.dark_field is not None


def test_torch_in_torch_out(tracker: Tracker) -> None:
    reference, sample = frames(0.3)
    found = tracker.track(torch.from_numpy(reference), torch.from_numpy(sample))
    for name, value in fields(found).items():
        assert isinstance(value, torch.Tensor), name
        assert (value.dtype, tuple(value.shape)) == (torch.float32, SHAPE), name
    agree(found, tracker.track(reference, sample))


def test_many_samples_share_a_reference(tracker: Tracker) -> None:
    """And none of them changes another's result."""
    reference, first = frames(0.3, -0.2)
    samples = np.stack([first, 0.5 * moved(reference, -0.4, 0.0)]).astype(np.float32)
    for references in (reference, reference[None], np.stack([reference, reference])):
        found = tracker.track(references, samples)
        for name, value in fields(found).items():
            assert value.shape == (2, *SHAPE), name
        for row in range(2):
            alone = tracker.track(reference, samples[row])
            assert np.array_equal(found.ux_px[row], alone.ux_px, equal_nan=True)
            assert np.array_equal(found.valid[row], alone.valid)


def test_sigma_is_there_if_claimed(tracker: Tracker) -> None:
    found = tracker.track(*frames())
    for sigma in (found.sigma_x_px, found.sigma_y_px):
        assert (sigma is not None) == tracker.provenance.has_sigma
        assert sigma is None or float(np.nanmin(sigma)) > 0


@pytest.mark.parametrize(
    "u", [(0.0, 0.0), (0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5), (0.9, -0.7)]
)
def test_signs_and_axes(tracker: Tracker, u: tuple[float, float]) -> None:
    """Positive ux = moved right, positive uy = moved down."""
    found = tracker.track(*frames(*u))
    assert found.valid[INNER].mean() > 0.99
    assert float(np.nanmean(found.ux_px[INNER])) == pytest.approx(u[0], abs=0.03)
    assert float(np.nanmean(found.uy_px[INNER])) == pytest.approx(u[1], abs=0.03)
    assert float(np.nanstd(found.ux_px[INNER])) < 0.05
    assert float(np.nanstd(found.uy_px[INNER])) < 0.05


def test_a_frame_against_itself(tracker: Tracker) -> None:
    frame = frames()[0]
    found = tracker.track(frame, frame)
    assert found.valid.mean() > 0.99
    for u in (found.ux_px, found.uy_px):
        assert float(np.nanstd(u)) < 0.03
        assert float(np.nanmax(np.abs(u))) < 0.2
    np.testing.assert_allclose(found.transmission[found.valid], 1, atol=1e-2)  # type: ignore[index]
    np.testing.assert_allclose(found.dark_field[found.valid], 1, atol=0.05)  # type: ignore[index]


def test_transmission(tracker: Tracker) -> None:
    found = tracker.track(*frames(0.4, -0.3, TRANSMISSION))
    assert found.transmission is not None
    inner = found.transmission[INNER]
    assert float(np.nanmean(inner)) == pytest.approx(TRANSMISSION, rel=2e-3)
    assert float(np.nanmax(np.abs(inner / TRANSMISSION - 1))) < 0.02


def test_dark_field(tracker: Tracker) -> None:
    """The ratio of visibilities, at any transmission."""
    reference, sample = frames(0.3, 0.0, TRANSMISSION)
    for scale in (1.0, 0.6):
        blurred = sample.mean() + scale * (sample - sample.mean())
        found = tracker.track(reference, blurred)
        assert found.dark_field is not None
        assert float(np.nanmean(found.dark_field[INNER])) == pytest.approx(scale, abs=0.04)


@pytest.mark.parametrize("shape", [(131, 257), (16, 16), (17, 40), (64, 97)])
def test_any_shape(tracker: Tracker, shape: tuple[int, int]) -> None:
    reference = speckle(shape, seed=2)
    found = tracker.track(reference, moved(reference, 0.3, 0.0))
    for name, value in fields(found).items():
        assert value.shape == shape, name
    if min(shape) > 60:
        assert float(np.nanmean(found.ux_px[INNER])) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "int32", ">i4", "uint32", ">f8", "f4"])
def test_any_number(tracker: Tracker, dtype: str) -> None:
    reference = speckle(SHAPE) / 8
    pair = [counts(i, dtype) for i in (reference, moved(reference, 0.5, 0.0))]
    for image in pair:
        image.flags.writeable = False
    kept = [image.copy() for image in pair]
    found = tracker.track(*pair)
    assert float(np.nanmean(found.ux_px[INNER])) == pytest.approx(0.5, abs=0.03)
    assert all(np.array_equal(a, b) for a, b in zip(pair, kept, strict=True))


def test_input_is_left_alone(tracker: Tracker) -> None:
    reference, sample = (torch.from_numpy(i) for i in frames())
    sample[5, 5] = torch.nan
    kept = reference.clone(), sample.clone()
    tracker.track(reference, sample)
    torch.testing.assert_close(reference, kept[0])
    torch.testing.assert_close(sample, kept[1], equal_nan=True)


@pytest.mark.parametrize("which", [0, 1])
def test_invalid_pixels_stay_where_they_are(tracker: Tracker, which: int) -> None:
    """In either frame; around a dead pixel or line the displacement is as it was."""
    pair = frames(0.5, 0.0)
    before = tracker.track(*pair)
    hole = np.zeros(SHAPE, bool)
    hole[40, 50] = hole[60:62, :] = hole[20:28, 20:26] = True
    hole[70, 30] = True
    pair[which][hole] = np.nan
    pair[which][70, 30] = np.inf
    found = tracker.track(*pair)
    assert not found.valid[hole].any()
    for name, value in fields(found).items():
        assert np.isnan(value[~found.valid]).all(), name
        assert np.isfinite(value[found.valid]).all(), name
    rest = before.valid & ~hole
    assert found.valid[rest].mean() > 0.98
    both = found.valid & before.valid
    change = np.abs(found.ux_px - before.ux_px)[both]
    assert float(change.max()) < 0.25
    assert float((change > 0.05).mean()) < 0.05


def test_frames_of_nothing_but_nan(tracker: Tracker) -> None:
    reference, sample = frames()
    found = tracker.track(reference, np.full_like(sample, np.nan))
    assert not found.valid.any()
    assert np.isnan(found.ux_px).all()


NOTHING: dict[str, Callable[[], NDArray[Any]]] = {
    "zero": lambda: np.zeros(SHAPE),
    "constant": lambda: np.full(SHAPE, 1000.0),
    "negative": lambda: np.full(SHAPE, -3.0),
    "saturated": lambda: np.full(SHAPE, 65535, np.uint16),
}


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("where", ["both", "sample", "reference"])
def test_frames_without_speckle_are_invalid(tracker: Tracker, name: str, where: str) -> None:
    nothing = NOTHING[name]()
    pair = {
        "both": (nothing, nothing),
        "sample": (frames()[0], nothing),
        "reference": (nothing, frames()[1]),
    }[where]
    found = tracker.track(*pair)
    assert found.valid.mean() < 0.01
    assert np.isnan(found.ux_px[~found.valid]).all()


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_noise_alone_is_invalid(tracker: Tracker, slope: float) -> None:
    """With and without a beam profile; what little is left lies at the border."""
    generator = np.random.default_rng(0)
    beam = 1000 * (1 + np.linspace(-slope, slope, SHAPE[0]))[:, None] * np.ones(SHAPE)
    reference, sample = (generator.poisson(beam) for _ in range(2))
    assert tracker.track(reference, sample).valid.mean() < 0.05


def test_outside_of_the_beam_is_invalid(tracker: Tracker) -> None:
    """Dark-subtracted, so that it is noise around zero: it must not spread into the beam."""
    generator = np.random.default_rng(0)
    pair = frames(0.5, 0.0)
    whole = tracker.track(*pair)
    for image in pair:
        image[:, 72:] = generator.normal(-0.1, 3, (SHAPE[0], SHAPE[1] - 72))
    found = tracker.track(*pair)
    assert not found.valid[:, 76:].any()
    assert found.valid[16:-16, 16:60].mean() > 0.95
    change = np.abs(found.ux_px - whole.ux_px)[16:-16, 16:56]
    assert float(np.nanmax(change)) < 0.1


@pytest.mark.parametrize(
    ("reference", "sample", "says"),
    [
        ((32, 32), (32, 33), "do not match"),
        ((2, 32, 32), (3, 32, 32), "do not match"),
        ((2, 32, 32), (32, 32), "do not match"),
        ((32,), (32,), r"\(H, W\)"),
        ((1, 1, 32, 32), (1, 1, 32, 32), r"\(H, W\)"),
        ((32, 32), (0, 32, 32), "no sample"),
        ((32, LEAST_SIDE_PX - 1), (32, LEAST_SIDE_PX - 1), "at least 16 px"),
        ((0, 0), (0, 0), "at least 16 px"),
    ],
)
def test_shapes_that_do_not_fit(
    tracker: Tracker, reference: tuple[int, ...], sample: tuple[int, ...], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        tracker.track(np.ones(reference), np.ones(sample))


@pytest.mark.parametrize("dtype", ["complex64", "U3", "O", "datetime64[s]"])
def test_what_is_no_number(tracker: Tracker, dtype: str) -> None:
    with pytest.raises(UsageError, match="real numbers"):
        tracker.track(np.ones(SHAPE), np.zeros(SHAPE, dtype))


def test_complex_tensors(tracker: Tracker) -> None:
    with pytest.raises(UsageError, match="real numbers"):
        tracker.track(torch.ones(SHAPE), torch.ones(SHAPE, dtype=torch.complex64))


def test_tensors_against_arrays(tracker: Tracker) -> None:
    reference, sample = frames(0.3)
    agree(
        tracker.track(reference.astype(">f4"), torch.from_numpy(sample)),
        tracker.track(reference, sample),
    )


def test_positions_or_who_takes_them(tracker: Tracker) -> None:
    """One displacement of a stack, or a line that names the trackers that give it."""
    reference, sample = frames(0.3, -0.2)
    stacks = np.stack([reference, reference]), np.stack([sample, sample])
    if tracker.provenance.tracker not in STACK_TRACKERS:
        assert tracker.least_positions == 0
        with pytest.raises(UsageError, match="several are " + ", ".join(STACK_TRACKERS)):
            tracker.track_positions(*stacks)
        return
    assert tracker.least_positions > 0
    found = tracker.track_positions(*stacks)
    for name, value in fields(found).items():
        assert isinstance(value, np.ndarray), name
        assert (value.dtype, value.shape) == (np.float32, SHAPE), name
    assert float(np.nanmean(found.ux_px[INNER])) == pytest.approx(0.3, abs=0.03)
    agree(tracker.track_positions(*(torch.from_numpy(s) for s in stacks)), found)


def test_provenance_says_what_was_used(tracker: Tracker) -> None:
    provenance = tracker.provenance
    assert provenance.tracker in TRACKERS
    assert provenance.parameters
    if provenance.tracker == "cade":
        assert provenance.weights == "cade"
        assert len(provenance.weights_sha256) == 64


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "umpa2"}, "unknown tracker.*cade, zncc, umpa"),
        ({"weights": "none"}, "unknown weights 'none'.*cade"),
        ({"device": "tpu7"}, "device 'tpu7'"),
        ({"device": "cuda:99"}, "device 'cuda:99'"),
        ({"name": "zncc", "window": 4}, "odd"),
        ({"name": "umpa", "window": 4}, "umpa: the window must be odd"),
        ({"name": "umpa", "search_px": 0}, "umpa: the search range"),
    ],
)
def test_what_cannot_be_loaded(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_tracker(**options)


def test_automatic_device() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert load_tracker("zncc").device.type == expected


def test_frames_tracked_together_are_as_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    reference = 100 + 20 * torch.rand((96, 112), generator=generator)
    samples = torch.stack([torch.roll(reference, shift, 1) for shift in (0, 1, 0)])
    samples[1, 20:30, 40:50] = torch.nan
    samples[2, 60:] = 0.0
    alone, together = (
        CadeTracker("cade", torch.device("cpu"), batched=batched).track(reference, samples)
        for batched in (False, True)
    )
    assert torch.equal(alone.valid, together.valid)
    for name in ("ux_px", "uy_px", "transmission", "dark_field"):
        torch.testing.assert_close(
            getattr(alone, name), getattr(together, name), rtol=0, atol=1e-4, equal_nan=True
        )
