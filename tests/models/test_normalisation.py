"""Normalised frames do not depend on beam profile, absorption, exposure or visibility."""

from __future__ import annotations

import pytest
import torch

from models.normalisation import blur, local_mean, normalise
from tests.speckle import moved, speckle

Pair = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def pair() -> Pair:
    reference = speckle((128, 160), seed=3)
    frames = (reference, 0.8 * moved(reference, 0.3, -0.2))
    return tuple(torch.from_numpy(f.copy()).float()[None] for f in frames)  # type: ignore[return-value]


@pytest.mark.parametrize("shape", [(32, 48), (37, 45), (131, 67)])
def test_local_mean_of_a_constant_is_the_constant(shape: tuple[int, int]) -> None:
    """At the border too, whatever the shape."""
    mean = local_mean(torch.full((2, *shape), 7.0), 12.0)
    torch.testing.assert_close(mean, torch.full((2, *shape), 7.0))


def test_local_mean_of_a_ramp_is_the_ramp() -> None:
    """Away from the border, where a window is one-sided."""
    ramp = torch.arange(160.0)[None, None, :].expand(1, 96, 160)
    inner = (..., slice(None), slice(48, 112))
    torch.testing.assert_close(local_mean(ramp, 12.0)[inner], ramp[inner], atol=1e-3, rtol=0)


def test_local_mean_has_its_width() -> None:
    """The answer to a line has the variance that was asked for, and the grid's own."""
    line = torch.zeros(1, 64, 256)
    line[..., 128] = 1.0
    profile = local_mean(line, 12.0)[0, 32]
    x = torch.arange(256.0)
    centre = float((profile * x).sum() / profile.sum())
    variance = float((profile * (x - centre) ** 2).sum() / profile.sum())
    assert centre == pytest.approx(128, abs=2.0)
    assert variance**0.5 == pytest.approx(12, rel=0.06)


def test_masked_pixels_do_not_count() -> None:
    images = torch.full((1, 64, 64), 5.0)
    weight = torch.ones(1, 64, 64)
    images[:, 20:40, 20:40], weight[:, 20:40, 20:40] = 1e6, 0.0
    torch.testing.assert_close(local_mean(images, 12.0, weight), torch.full((1, 64, 64), 5.0))


def test_blur_keeps_the_sum() -> None:
    image = torch.zeros(1, 31, 31)
    image[0, 15, 15] = 2.0
    assert float(blur(image, 2.0).sum()) == pytest.approx(2.0, rel=1e-5)


def test_reference_has_zero_mean_and_unit_contrast(pair: Pair) -> None:
    normalised = normalise(*pair)
    assert float(normalised.reference.mean()) == pytest.approx(0, abs=0.02)
    assert float(normalised.reference.std()) == pytest.approx(1, abs=0.02)
    assert float(normalised.contrast.mean()) == pytest.approx(0.25, rel=0.06)
    assert float(normalised.transmission.mean()) == pytest.approx(0.8, rel=0.01)


@pytest.mark.parametrize("factor", [1e-3, 50.0])
def test_exposure_does_not_matter(pair: Pair, factor: float) -> None:
    reference, sample = pair
    before, after = normalise(reference, sample), normalise(factor * reference, sample)
    torch.testing.assert_close(after.reference, before.reference, atol=1e-4, rtol=0)
    torch.testing.assert_close(after.sample, before.sample, atol=1e-4, rtol=0)


def test_visibility_does_not_matter(pair: Pair) -> None:
    reference, sample = pair
    faint = [image.mean() + 0.2 * (image - image.mean()) for image in (reference, sample)]
    before, after = normalise(reference, sample), normalise(*faint)
    assert float(after.contrast.mean()) == pytest.approx(0.05, rel=0.07)
    # The local mean is not exactly the mean, so contrast is not exactly divided out.
    assert float((after.reference - before.reference).abs().mean()) < 0.06
    assert float((after.sample - before.sample).abs().mean()) < 0.06


def test_beam_profile_does_not_matter(pair: Pair) -> None:
    """Away from the border, where a window is one-sided."""
    profile = torch.exp(-(torch.linspace(-0.7, 0.7, 160) ** 2))[None, None, :]
    before, after = normalise(*pair), normalise(*(image * profile for image in pair))
    inner = (..., slice(36, -36))
    assert float((after.reference - before.reference)[inner].abs().mean()) < 0.06
    assert float((after.sample - before.sample)[inner].abs().mean()) < 0.06


def test_masked_pixels_become_zero_and_disturb_nobody(pair: Pair) -> None:
    reference, sample = (image.clone() for image in pair)
    weight = torch.ones_like(reference)
    hole = (..., slice(50, 60), slice(70, 80))
    before = normalise(reference, sample)
    reference[hole], weight[hole] = 1e5, 0.0
    after = normalise(reference, sample, weight)
    assert float(after.reference[hole].abs().max()) == 0
    assert float(after.sample[hole].abs().max()) == 0
    rest = weight > 0
    assert float((after.reference - before.reference)[rest].abs().max()) < 0.15


def test_spikes_are_bounded(pair: Pair) -> None:
    reference, sample = (image.clone() for image in pair)
    sample[0, 40, 40] = 1e6
    assert float(normalise(reference, sample).sample.abs().max()) == 8


def test_no_speckle_stays_finite() -> None:
    flat = torch.full((1, 48, 48), 1000.0)
    normalised = normalise(flat, flat)
    assert float(normalised.contrast.max()) < 1e-4
    assert bool(torch.isfinite(normalised.reference).all())
