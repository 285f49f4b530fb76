"""Tiles cover a frame once, and tiling a trained network leaves no seam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.cade_tracker import CadeTracker
from models.normalisation import normalise
from models.tiling import tiles
from simulator.pairs import PairSettings, make_pairs
from simulator.pattern import reference_pattern


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    core=st.integers(1, 12),
    halo=st.integers(0, 50),
    multiple=st.sampled_from([1, 16]),
)
def test_tiles_cover_every_pixel_once(
    rows: int, columns: int, core: int, halo: int, multiple: int
) -> None:
    shape = (rows * multiple, columns * multiple)
    rounded = -(-halo // multiple) * multiple
    most_px = ((core * multiple) + 2 * rounded) ** 2
    seen = np.zeros(shape, int)
    for tile in tiles(shape, most_px, halo, multiple):
        seen[tile.keep] += 1
        side = [s.stop - s.start for s in tile.read]
        assert side[0] * side[1] <= most_px
        for read, keep, inner, length in zip(tile.read, tile.keep, tile.inner, shape, strict=True):
            assert read.start % multiple == 0
            assert (read.stop - read.start) % multiple == 0
            assert keep.start - read.start >= halo or read.start == 0
            assert read.stop - keep.stop >= halo or read.stop == length
            assert (inner.start + read.start, inner.stop + read.start) == (keep.start, keep.stop)
    assert bool((seen == 1).all())


@given(rows=st.integers(1, 64), columns=st.integers(1, 64))
def test_a_frame_that_fits_is_one_tile(rows: int, columns: int) -> None:
    [tile] = tiles((rows, columns), rows * columns, 96, 16)
    assert tile.read == tile.keep == (slice(0, rows), slice(0, columns))


def test_a_frame_that_does_not_fit_is_several() -> None:
    assert len(list(tiles((512, 512), 512 * 512 - 1, 64, 16))) > 1


@pytest.fixture(scope="module")
def tracker() -> CadeTracker:
    return CadeTracker("cade", torch.device("cpu"))


@pytest.mark.parametrize(
    ("pattern", "visibility", "counts", "patch"),
    [(0, 0.05, 300.0, 128), (1, None, 1e5, 128), (2, None, 1000.0, 16)],
)
def test_no_seam(
    tracker: CadeTracker, pattern: int, visibility: float | None, counts: float, patch: int
) -> None:
    """At the tracker's halo a cut is felt by less than 0.1 sigma at any pixel."""
    side, cut = 320, 160
    intensity = reference_pattern(pattern, (side, side), 991)
    settings = PairSettings(
        visibility=None if visibility is None else (visibility, visibility),
        counts=(counts, counts),
        transmission=(0.4, 1.0),
    )
    generator = torch.Generator().manual_seed(pattern)
    pair = make_pairs(intensity[None], 1, (side, side), settings, generator, [patch])
    halo = tracker.network.REACH_PX
    with torch.inference_mode():
        normalised = normalise(pair.reference, pair.sample)
        image = torch.stack([normalised.reference, normalised.sample], dim=1)
        whole = tracker._tiled(image)
        cuts = [tracker._infer(image[..., cut - halo :])[..., halo:]]
        cuts += [tracker._infer(image[..., cut - halo :, :])[..., halo:, :]]
    for part, same in zip(cuts, (whole[..., cut:], whole[..., cut:, :]), strict=True):
        sigma = same[:, 2:].exp()
        assert float(((part[:, :2] - same[:, :2]).abs() / sigma).max()) < 0.1
        assert float((part[:, 2:] - same[:, 2:]).abs().max()) < 0.1


def test_tiled_frames_are_put_together(tracker: CadeTracker) -> None:
    """Forced into tiles, a frame that is no multiple of anything gives the same displacement."""
    intensity = reference_pattern(3, (448, 448), 991)
    settings = PairSettings(visibility=None, counts=(1000.0, 1000.0), transmission=(0.9, 0.9))
    generator = torch.Generator().manual_seed(0)
    pair = make_pairs(intensity[None], 1, (429, 411), settings, generator, [32])
    whole = tracker.track(pair.reference[0], pair.sample[0])
    halo = tracker.network.REACH_PX
    cut = CadeTracker("cade", torch.device("cpu"), tile_px=(2 * halo + 112) ** 2)
    assert len(list(tiles((432, 416), cut.tile_px, halo, 16))) == 16
    tiled = cut.track(pair.reference[0], pair.sample[0])
    both = whole.valid & tiled.valid
    assert float(both.float().mean()) > 0.99
    assert whole.sigma_x_px is not None
    deviation = (tiled.ux_px - whole.ux_px).abs() / whole.sigma_x_px
    assert float(deviation[both].max()) < 0.1
