"""The coarse stage follows up to 20 px, leaves small displacements alone, and gives up in peace."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.nn import functional

from cade.interpolation import spline_coefficients
from models.cade_tracker import CadeTracker
from models.coarse import RANGE_PX, coarse_displacement, settled_sample
from models.normalisation import normalise
from simulator.detector import expose
from simulator.pairs import displaced_intensity
from simulator.pattern import at_pixels, reference_pattern

COUNTS, TRANSMISSION = 1000.0, 0.9
PATTERNS = (6, 0, 3, 4)
"""Fine, middling and coarse speckle: 2.6, 4.2, 4.7 and 7.3 px."""
SIDE = 256
UNSEEN = 77
BORDER = 80
AS_GOOD = 1.2
"""Over all valid pixels, those beside the border that is lost included."""
MAP_AS_GOOD = 1.4
"""The same where the field varies: how it goes on beyond the lost border is anybody's guess, and
the sample that is filled by that guess pulls at what lies beside it."""
LARGE_PX = [(20.0, 20.0), (-20.0, -20.0), (20.0, -20.0), (5.5, -5.5), (-12.3, 12.3)]


@cache
def pattern(index: int) -> torch.Tensor:
    """Periodic, so that it can be continued."""
    return reference_pattern(index, (SIDE, SIDE), UNSEEN)


@pytest.fixture(scope="module")
def tracker() -> CadeTracker:
    return CadeTracker("cade", torch.device("cpu"))


def pair(index: int, u_px: torch.Tensor, counts: float = COUNTS) -> tuple[torch.Tensor, ...]:
    """Frames `(H, W)` of unseen speckle, displaced by `(2, H, W)`, with noise."""
    repeats = u_px.shape[-1] // SIDE
    intensity = pattern(index).repeat(repeats, repeats)
    generator = torch.Generator().manual_seed(index)
    wide = functional.pad(intensity[None, None], (BORDER,) * 4, mode="circular")[0]
    moved = displaced_intensity(spline_coefficients(wide), u_px[None], BORDER)[0]
    return (
        expose(at_pixels(intensity), counts, generator),
        expose(TRANSMISSION * moved, counts, generator),
    )


def coarse(frames: tuple[torch.Tensor, ...]) -> torch.Tensor | None:
    normalised = normalise(frames[0][None], frames[1][None])
    return coarse_displacement(normalised.reference, normalised.sample)


def constant(ux_px: float, uy_px: float, side: int = 256) -> torch.Tensor:
    return torch.tensor([ux_px, uy_px])[:, None, None].expand(2, side, side).contiguous()


def random_map(patch_px: int, side: int = 256, most_px: float = 1.0) -> torch.Tensor:
    nodes = torch.randn(2, side // patch_px + 1, side // patch_px + 1, generator=seeded())
    nodes = (0.4 * nodes).clamp(-most_px, most_px)
    size = (side + 1, side + 1)
    fine = functional.interpolate(nodes[None], size=size, mode="bilinear", align_corners=True)
    return fine[0, :, :side, :side]


def lens(most_px: float, side: int) -> torch.Tensor:
    """u = most_px · (x, y) / half the width."""
    steps = (torch.arange(side) - (side - 1) / 2) * (2 / side)
    return most_px * torch.stack([steps.expand(side, side), steps[:, None].expand(side, side)])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def shown(u_px: torch.Tensor) -> torch.Tensor:
    """Pixels whose source x − u is in the frame."""
    height, width = u_px.shape[-2:]
    x = torch.arange(width) - u_px[0]
    y = torch.arange(height)[:, None] - u_px[1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def errors(tracker: CadeTracker, index: int, u_px: torch.Tensor) -> torch.Tensor:
    """End-point errors of the valid pixels, which are nearly all that the reference shows."""
    found = tracker.track(*pair(index, u_px))
    assert float(found.valid[shown(u_px)].float().mean()) > 0.99
    deviation = torch.stack([found.ux_px, found.uy_px]) - u_px
    return deviation.square().sum(dim=0).sqrt()[found.valid]


def mean_error(tracker: CadeTracker, u_px: torch.Tensor) -> float:
    return sum(float(errors(tracker, i, u_px).mean()) for i in PATTERNS) / len(PATTERNS)


@pytest.fixture(scope="module")
def small_shift_epe(tracker: CadeTracker) -> float:
    return mean_error(tracker, constant(0.3, 0.3))


@pytest.mark.parametrize("shift", LARGE_PX)
def test_large_shifts_are_as_good_as_small_ones(
    tracker: CadeTracker, small_shift_epe: float, shift: tuple[float, float]
) -> None:
    assert mean_error(tracker, constant(*shift)) < AS_GOOD * small_shift_epe


def test_drift_with_a_map_on_top(tracker: CadeTracker) -> None:
    local = random_map(64)
    drifted = mean_error(tracker, local + constant(-12.0, 3.0))
    assert drifted < MAP_AS_GOOD * mean_error(tracker, local)


@pytest.mark.parametrize("most_px", [20.0, -20.0])
def test_a_lens(tracker: CadeTracker, most_px: float) -> None:
    """From the middle to the border by 20 px, on 512 px; the borders may leave the frame."""
    assert float(errors(tracker, 0, lens(most_px, 512)).median()) < 0.1


@pytest.mark.parametrize("counts", [278.0, 1000.0, 1e4])
@pytest.mark.parametrize("patch", [4, 16, 128])
@pytest.mark.parametrize("index", PATTERNS[::3])
def test_nothing_where_displacements_are_small(index: int, patch: int, counts: float) -> None:
    assert coarse(pair(index, random_map(patch), counts)) is None


@pytest.mark.parametrize("index", PATTERNS)
def test_where_it_begins(index: int) -> None:
    """A pixel of drift is left to the network, two are not."""
    assert coarse(pair(index, constant(1.0, -1.0))) is None
    start = coarse(pair(index, constant(2.0, 0.0)))
    assert start is not None
    assert float((start[0] - constant(2.0, 0.0)).abs().max()) < 0.5


def test_each_frame_for_itself() -> None:
    frames = [pair(0, u) for u in (constant(0.3, 0.0), constant(8.0, -6.0))]
    both = normalise(*(torch.stack(images) for images in zip(*frames, strict=True)))
    start = coarse_displacement(both.reference, both.sample)
    assert start is not None
    assert float(start[0].abs().max()) == 0
    assert float((start[1] - constant(8.0, -6.0)).abs().max()) < 0.5
    alone = coarse(frames[1])
    assert alone is not None
    torch.testing.assert_close(start[1], alone[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(131, 253), (256, 97), (65, 64)])
def test_any_shape(shape: tuple[int, int]) -> None:
    frames = pair(0, constant(-7.0, 4.5))
    cut = tuple(image[: shape[0], : shape[1]] for image in frames)
    start = coarse(cut)
    assert start is not None
    assert start.shape == (1, 2, *shape)
    expected = torch.tensor([-7.0, 4.5])[:, None, None]
    assert float((start[0] - expected).abs().max()) < 0.6


def test_the_field_has_no_jumps() -> None:
    start = coarse(pair(0, lens(10.0, 256)))
    assert start is not None
    for dim in (-2, -1):
        assert float(start.diff(dim=dim).abs().max()) < 0.2


def test_masked_and_empty_parts_take_their_neighbours_value() -> None:
    """A masked corner with speckle of its own that has not moved, and a part without speckle."""
    reference, sample = pair(0, constant(9.0, 9.0))
    weight = torch.ones(1, 256, 256)
    weight[:, :64, :96] = 0
    sample[:64, :96] = reference[:64, :96]
    generator = seeded()
    for image in (reference, sample):
        noise = torch.randn(80, 80, generator=generator)
        image[150:230, 150:230] = COUNTS + COUNTS**0.5 * noise
    both = normalise(reference[None], sample[None])
    start = coarse_displacement(both.reference, both.sample, weight)
    assert start is not None
    assert float((start - 9).abs().max()) < 0.6


@pytest.mark.parametrize("moved", [0.0, 5.0])
def test_a_periodic_texture_is_refused(moved: float) -> None:
    y, x = torch.meshgrid(torch.arange(192.0), torch.arange(192.0), indexing="ij")
    frames = tuple(
        1000 + 200 * (torch.sin(2 * torch.pi * (x - u) / 10) + torch.sin(2 * torch.pi * y / 10))
        for u in (0.0, moved)
    )
    assert coarse(frames) is None


def test_foreign_speckle_and_noise_are_refused() -> None:
    reference, sample = pair(0, constant(0.0, 0.0))
    assert coarse((reference, torch.roll(sample, (128, 128), (0, 1)))) is None
    noise = torch.rand(2, 192, 192, generator=seeded())
    assert coarse((noise[0], noise[1])) is None


def test_no_further_than_the_range() -> None:
    start = coarse(pair(0, constant(35.0, 0.0)))
    assert start is None or float(start.abs().max()) <= RANGE_PX


def test_settled_sample_is_changed_only_where_nothing_compares() -> None:
    frames = pair(0, constant(10.0, 0.0))
    weight = torch.ones(1, 256, 256)
    weight[:, 100, 100] = 0
    both = normalise(frames[0][None], frames[1][None], weight)
    start = constant(10.0, 0.0)[None]
    settled = settled_sample(both.reference, both.sample, weight, start)
    changed = (settled != both.sample)[0]
    assert not changed[:, 10:].any() or set(changed[:, 10:].nonzero()[:, 0].tolist()) == {100}
    assert bool(changed[:, :9].all())
    expected = both.reference[0, :, :1].expand(-1, 9)
    torch.testing.assert_close(settled[0, :, :9], expected, atol=1e-5, rtol=0)
    assert float(settled[0, 100, 110]) == 0  # the reference's masked pixel, 10 px to the right


def test_sources_outside_are_invalid_and_only_those(tracker: CadeTracker) -> None:
    found = tracker.track(*pair(0, constant(15.0, 0.0)))
    assert not found.valid[:, :13].any()
    assert bool(found.valid[:, 16:].float().mean() > 0.999)
    small = tracker.track(*pair(0, constant(0.9, -0.9)))
    assert float(small.valid.float().mean()) > 0.999


def test_dead_pixels_of_the_reference_are_invalid_where_they_are_seen(tracker: CadeTracker) -> None:
    reference, sample = pair(0, constant(12.0, 0.0))
    reference[100:104, 60:64] = torch.nan
    found = tracker.track(reference, sample)
    assert not found.valid[100:104, 72:76].any()
    assert bool(found.valid[100:104, 80:90].all())
    assert float((found.ux_px - 12)[found.valid].abs().max()) < 0.5


def test_tiles_get_their_part() -> None:
    """Forced into tiles, a frame that moves far gives the same displacement."""
    frames = tuple(image[:429, :411] for image in pair(0, lens(14.0, 512) + 6.0))
    whole = CadeTracker("cade", torch.device("cpu"))
    halo = whole.network.REACH_PX + 32  # the range, in whole multiples
    cut = CadeTracker("cade", torch.device("cpu"), tile_px=(2 * halo + 112) ** 2)
    found, tiled = whole.track(*frames), cut.track(*frames)
    both = found.valid & tiled.valid
    assert torch.equal(found.valid, tiled.valid) or float(both.float().mean()) > 0.85
    assert found.sigma_x_px is not None
    deviation = (tiled.ux_px - found.ux_px).abs() / found.sigma_x_px
    assert float(deviation[both].max()) < 0.2
