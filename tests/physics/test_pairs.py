"""Training pairs: what they show, checked without the spline that made them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from cade.errors import UsageError
from cade.interpolation import spline_coefficients
from simulator.deformation import DeformationSettings
from simulator.detector import HALF_PIXELS
from simulator.draws import Draws
from simulator.pairs import PairSettings, crop_patterns, displaced_intensity, make_pairs
from simulator.pattern import at_pixels, reference_patterns

NOISE_FREE = 1e10
STILL = DeformationSettings(wide=0, constant=0, identity=1)
CONSTANT = DeformationSettings(wide=0, constant=1, constant_px=1.0, identity=0)
PLAIN = PairSettings(
    visibility=None,
    counts=(NOISE_FREE, NOISE_FREE),
    transmission=(0.8, 0.8),
    focusing=0,
    flat=1,
    deformation=CONSTANT,
)


@pytest.fixture(scope="module")
def patterns() -> torch.Tensor:
    return reference_patterns(2, (48, 48), seed=11)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted(intensity: torch.Tensor, ux_px: float, uy_px: float) -> torch.Tensor:
    """I(x − u) of a periodic pattern at two samples a pixel, by the shift theorem."""
    fy = HALF_PIXELS * torch.fft.fftfreq(intensity.shape[0], dtype=torch.float64)
    fx = HALF_PIXELS * torch.fft.rfftfreq(intensity.shape[1], dtype=torch.float64)
    turns = -2 * torch.pi * (fy[:, None] * uy_px + fx[None, :] * ux_px)
    ramp = torch.polar(torch.ones_like(turns), turns)
    moved: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(intensity.double()) * ramp)
    return moved


def mirrors(pattern: torch.Tensor) -> list[torch.Tensor]:
    """The pattern's eight orientations."""
    turned = [torch.rot90(pattern, k) for k in range(4)]
    return turned + [image.flip(1) for image in turned]


def where(image: torch.Tensor, pattern: torch.Tensor) -> tuple[float, int, int]:
    """Squared distance, row and column of the best place of `(h, w)` pixels in the pattern."""
    height, width = image.shape
    wrapped = functional.pad(
        pattern[None, None], (0, 2 * width, 0, 2 * height), mode="circular"
    ).double()
    pieces = functional.unfold(wrapped, (height, width), dilation=HALF_PIXELS)[0]
    distance = (pieces - image.double().reshape(-1, 1)).square().mean(dim=0)
    best = int(distance.argmin())
    columns = wrapped.shape[-1] - HALF_PIXELS * (width - 1)
    return float(distance[best]), best // columns, best % columns


@pytest.mark.parametrize("u", [(0.5, 0.0), (0.0, 0.5), (-0.31, 0.87), (1.25, -1.25)])
def test_displaced_intensity_is_a_shift(patterns: torch.Tensor, u: tuple[float, float]) -> None:
    wrapped = functional.pad(patterns, (12, 12, 12, 12), mode="circular")
    displacement = torch.tensor(u)[None, :, None, None].expand(2, 2, 48, 48)
    moved = displaced_intensity(spline_coefficients(wrapped), displacement)
    for pattern, found in zip(patterns, moved, strict=True):
        expected = at_pixels(shifted(pattern, *u)).float()
        assert float((found - expected).std()) < 1e-3  # the noise of a million counts
        assert float((found - expected).abs().max()) < 5e-3
        assert float((found - at_pixels(pattern)).abs().max()) > 0.05


def test_sample_is_the_transmitted_and_displaced_reference(patterns: torch.Tensor) -> None:
    """I_s(x) = T·I_r(x − u), the crop's place found by comparison with every place there is."""
    pairs = make_pairs(patterns[:1], 4, (10, 14), PLAIN, generator(1), [16] * 4)
    assert float(pairs.displacement_px.abs().amax()) > 0.5
    for index in range(4):
        found = [where(pairs.reference[index], image) for image in mirrors(patterns[0])]
        best = min(range(8), key=lambda k: found[k][0])
        distance, row, column = found[best]
        assert distance < 1e-8
        ux_px, uy_px = pairs.displacement_px[index, :, 0, 0].tolist()
        moved = shifted(mirrors(patterns[0])[best], ux_px, uy_px)
        moved = moved.roll((-row, -column), dims=(0, 1))[:20:2, :28:2]
        torch.testing.assert_close(pairs.sample[index].double(), 0.8 * moved, atol=4e-3, rtol=0)


def test_all_orientations_and_places_occur(patterns: torch.Tensor) -> None:
    crops = crop_patterns(patterns[:1], 60, (6, 8), generator())
    assert crops.shape == (60, 2 * 6 + 24, 2 * 8 + 24)
    images = crops[:, 12:-12:2, 12:-12:2]
    best = []
    for image in images:
        found = [where(image, mirrored) for mirrored in mirrors(patterns[0])]
        best.append(min(range(8), key=lambda k: found[k][0]))
        assert min(found)[0] < 1e-10
    assert set(best) == set(range(8))


def test_wide_crops_are_wide(patterns: torch.Tensor) -> None:
    pairs = make_pairs(patterns, 2, (10, 14), PLAIN, generator())
    shapes = [pairs.reference.shape, pairs.sample.shape, pairs.transmission.shape]
    assert shapes == [(2, 10, 14)] * 3
    assert pairs.displacement_px.shape == (2, 2, 10, 14)


def test_both_frames_have_the_stated_noise() -> None:
    flat = torch.ones(1, 128, 128)
    settings = replace(PLAIN, counts=(400.0, 400.0))
    pairs = make_pairs(flat, 16, (64, 64), settings, generator())
    for frames, level in ((pairs.reference, 1.0), (pairs.sample, 0.8)):
        assert float(frames.mean()) == pytest.approx(level, rel=2e-3)
        assert float(frames.var()) == pytest.approx(level / 400, rel=2e-2)
    noise = torch.stack([pairs.reference.flatten(), pairs.sample.flatten()])
    assert abs(float(torch.corrcoef(noise)[0, 1])) < 0.02


def test_share_of_pairs_with_focusing() -> None:
    flat = torch.ones(1, 64, 64)
    wavy = DeformationSettings(wide=1, constant=0, identity=0)
    settings = replace(PLAIN, deformation=wavy, focusing=0.3)
    pairs = make_pairs(flat, 300, (16, 16), settings, generator(), [8] * 300)
    focused = (pairs.sample - 0.8).abs().amax(dim=(-2, -1)) > 1e-3
    assert int(focused.sum()) == pytest.approx(90, abs=32)  # four standard deviations
    u = pairs.displacement_px[focused][0]
    shrink_x, shrink_y = 1 - u[0].diff(dim=1)[:-1], 1 - u[1].diff(dim=0)[:, :-1]
    sheared = u[0].diff(dim=0)[:, :-1] * u[1].diff(dim=1)[:-1]
    area = shrink_x * shrink_y - sheared
    level = pairs.transmission[focused][0] / 0.8
    assert (
        float(torch.corrcoef(torch.stack([area.flatten(), level[:-1, :-1].flatten()]))[0, 1]) > 0.7
    )
    torch.testing.assert_close(
        pairs.sample[focused], pairs.transmission[focused], atol=1e-3, rtol=0
    )


def test_contrast_is_scaled_to_the_visibility(patterns: torch.Tensor) -> None:
    settings = replace(PLAIN, visibility=(0.1, 0.1), deformation=STILL)
    pairs = make_pairs(patterns, 6, (36, 36), settings, generator())
    visibilities = pairs.reference.std(dim=(-2, -1)) / pairs.reference.mean(dim=(-2, -1))
    assert visibilities.tolist() == pytest.approx([0.1] * 6, rel=0.25)  # of a part of the crop
    torch.testing.assert_close(pairs.sample, 0.8 * pairs.reference, atol=1e-3, rtol=0)


def test_attenuation_maps_vary_between_floor_and_one(patterns: torch.Tensor) -> None:
    settings = replace(PLAIN, flat=0, transmission=(0.5, 0.5), deformation=STILL)
    pairs = make_pairs(patterns, 8, (40, 40), settings, generator(), [8] * 8)
    assert 0.5 <= float(pairs.transmission.min()) < 0.6
    assert 0.9 < float(pairs.transmission.max()) <= 1
    torch.testing.assert_close(
        pairs.sample, pairs.transmission * pairs.reference, atol=2e-3, rtol=0
    )


def test_same_seed_same_pairs(patterns: torch.Tensor) -> None:
    first, again, other = (
        make_pairs(patterns, 3, (12, 12), PairSettings(), generator(seed)) for seed in (7, 7, 8)
    )
    for name in ("reference", "sample", "displacement_px", "transmission"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


def test_patches_are_those_asked_for(patterns: torch.Tensor) -> None:
    settings = replace(PLAIN, deformation=DeformationSettings(wide=1, constant=0, identity=0))
    pairs = make_pairs(patterns, 2, (40, 40), settings, generator(), [4, 128])
    rough = pairs.displacement_px.diff(n=2, dim=-1).abs().amax(dim=(1, 2, 3))
    assert float(rough[0]) > 0.1
    assert float(rough[1]) < 0.04


def test_a_batch_of_shards_is_its_shards(patterns: torch.Tensor) -> None:
    """Who computes which part of a batch does not matter: to the bit, but for vector widths."""
    both = make_pairs(patterns, 4, (12, 14), PairSettings(), Draws((generator(1), generator(2))))
    parts = [make_pairs(patterns, 2, (12, 14), PairSettings(), generator(s)) for s in (1, 2)]
    for name in ("reference", "sample", "displacement_px", "transmission"):
        whole = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(getattr(both, name), whole, atol=1e-6, rtol=1e-6)


def test_pairs_of_a_batch_are_independent(patterns: torch.Tensor) -> None:
    settings = PairSettings(flat=0.5, focusing=0.5, deformation=DeformationSettings())
    pairs = make_pairs(patterns, 64, (12, 14), settings, generator())
    u = pairs.displacement_px
    for index in range(1, 64):
        assert not torch.equal(u[index], u[index - 1]) or not bool(u[index].any())
    flat = pairs.transmission.amax(dim=(-2, -1)) == pairs.transmission.amin(dim=(-2, -1))
    assert 6 <= int(flat.sum()) <= 32  # half of them, but for what focusing modulates
    levels = pairs.transmission[flat][:, 0, 0]
    assert 0.2 <= float(levels.min()) < 0.5
    assert 0.7 < float(levels.max()) <= 1


def test_crops_of_patterns_that_do_not_join_up_stay_inside() -> None:
    ramp = torch.arange(40.0)
    pattern = (100 * ramp[:, None] + ramp[None, :])[None]
    crops = crop_patterns(pattern, 50, (6, 6), generator(), periodic=False)
    steps = torch.cat([crops.diff(dim=1).abs().flatten(), crops.diff(dim=2).abs().flatten()])
    assert set(steps.tolist()) == {1.0, 100.0}
    wrapped = crop_patterns(pattern, 50, (6, 6), generator())
    assert float(wrapped.diff(dim=1).abs().max()) > 100
    with pytest.raises(UsageError, match="40 × 40 samples are too small"):
        crop_patterns(pattern, 1, (10, 6), generator(), periodic=False)
    assert crop_patterns(pattern, 1, (8, 6), generator(), periodic=False).shape == (1, 40, 36)
