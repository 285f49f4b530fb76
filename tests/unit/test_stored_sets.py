"""Stored patterns and pairs: what is in them, and what readers refuse."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cade.errors import CadeError, UsageError
from simulator.contact_sheet import TILE_PX, Tile, draw_sheet, pair_sheet, pattern_sheet, save_sheet
from simulator.deformation import PATCHES_PX
from simulator.pair_set import TEST, TRAIN, PairSet, open_pair_set
from simulator.pair_set_writer import PairSetRequest, plan_pair_set, write_pair_set
from simulator.pattern import at_pixels, measure_speckle
from simulator.pattern_range import PAPER_RANGE, draw_pattern
from simulator.pattern_set import PatternSetRequest, read_patterns, read_table, write_pattern_set

SHAPE = (64, 64)
REQUEST = PatternSetRequest(PAPER_RANGE, 4, SHAPE, 5)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sets") / "references.h5"
    write_pattern_set(path, REQUEST)
    return path


@pytest.fixture(scope="module")
def pairs(references: Path) -> PairSet:
    path = references.with_name("pairs.h5")
    write_pair_set(path, plan_pair_set(PairSetRequest(references, 30, 5, (48, 56), seed=9)))
    return open_pair_set(path)


def test_patterns_are_those_that_the_seed_draws(references: Path) -> None:
    patterns = read_patterns(references)
    assert patterns.shape == (4, 128, 128)
    assert patterns.dtype == torch.float16
    table = read_table(references)
    for index in (0, 3):
        drawn = draw_pattern(index, SHAPE, 5, PAPER_RANGE)
        assert torch.equal(patterns[index], drawn.intensity.half())
        measured = measure_speckle(at_pixels(patterns[index]))
        assert table["speckle_fwhm"][index] == pytest.approx(measured.fwhm_px, rel=1e-3)
        assert table["visibility"][index] == pytest.approx(measured.visibility, rel=1e-3)
        assert table["grain"][index] == pytest.approx(drawn.paper.grain_m)
        assert table["draws"][index] == drawn.draws
    with h5py.File(references) as file:
        assert all("units" in item.attrs for item in file.values())
        assert file.attrs["set"] == "paper"
        assert file.attrs["pixel_size_m"] == 12e-6
        assert json.loads(file.attrs["settings"])["limits"]["visibility"] == [0.2, 1.0]


def test_longer_sets_begin_with_the_shorter(references: Path, tmp_path: Path) -> None:
    write_pattern_set(tmp_path / "two.h5", dataclasses.replace(REQUEST, count=2))
    assert torch.equal(read_patterns(references)[:2], read_patterns(tmp_path / "two.h5"))


def test_sets_of_one_shape_join_and_others_do_not(references: Path, tmp_path: Path) -> None:
    joined = read_patterns(references, references)
    assert torch.equal(joined[4:], joined[:4])
    other = tmp_path / "other.h5"
    write_pattern_set(other, dataclasses.replace(REQUEST, count=1, shape=(48, 64)))
    expected = r"other\.h5: patterns of 48 × 64 px, but those of .+references\.h5 have 64 × 64"
    with pytest.raises(CadeError, match=expected):
        read_patterns(references, other)
    with pytest.raises(UsageError, match=r"48 px hold no pairs of 50 × 40 px"):
        plan_pair_set(PairSetRequest(other, shape=(50, 40)))


@pytest.mark.parametrize("visibility", [0.019, 0.021])
def test_no_usable_speckle(references: Path, tmp_path: Path, visibility: float) -> None:
    faint = tmp_path / "faint.h5"
    faint.write_bytes(references.read_bytes())
    with h5py.File(faint, "r+") as file:
        file["visibility"][2] = visibility
    if visibility > 0.02:
        assert read_patterns(faint).shape[0] == 4
        assert plan_pair_set(PairSetRequest(faint)).shape == SHAPE
        return
    with pytest.raises(CadeError, match=r"faint\.h5, pattern 2: no usable speckle"):
        read_patterns(faint)
    with pytest.raises(CadeError, match="no usable speckle"):
        plan_pair_set(PairSetRequest(faint))


def test_foreign_files(references: Path, pairs: PairSet, tmp_path: Path) -> None:
    with pytest.raises(CadeError, match=r"pairs\.h5: damaged, or no cade pattern set"):
        read_patterns(pairs.path)
    with pytest.raises(CadeError, match=r"references\.h5: damaged, or no cade pair set"):
        open_pair_set(references)
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(CadeError, match=r"text\.h5: damaged, or no cade pair set"):
        open_pair_set(tmp_path / "text.h5")


def test_pairs_are_the_papers(pairs: PairSet) -> None:
    assert (pairs.rows, pairs.shape, pairs.counts) == (30, (48, 56), 1000.0)
    batch = pairs.read(range(30))
    assert batch.displacement_px.shape == (30, 2, 48, 56)
    assert all(
        field.dtype == torch.float32
        for field in (batch.reference, batch.sample, batch.displacement_px, batch.transmission)
    )
    assert float(batch.displacement_px.abs().max()) <= 1
    assert float(batch.transmission.min()) >= 0.5
    assert float(batch.transmission.max()) <= 1
    assert float(batch.transmission.mean()) == pytest.approx(0.75, abs=0.05)
    assert float(batch.reference.mean()) == pytest.approx(1, abs=0.1)
    ratio = batch.sample.mean(dim=(1, 2)) / batch.reference.mean(dim=(1, 2))
    assert torch.allclose(ratio, batch.transmission.mean(dim=(1, 2)), atol=0.05)
    noise = batch.sample - batch.transmission * batch.reference
    assert float(noise.std()) > 1 / np.sqrt(1000)


def test_patterns_and_patches_take_turns(pairs: PairSet) -> None:
    assert pairs.patches_px[:5] == (4, 8, 16, 32, 8)
    with h5py.File(pairs.path) as file:
        patterns = file["train/pattern"][()]
        assert patterns.tolist() == [row % 4 for row in range(30)]
        seen = {(pattern, patch) for pattern, patch in zip(patterns, pairs.patches_px, strict=True)}
        assert len(seen) == 4 * len(PATCHES_PX)
        assert file["train/reference"].dtype == np.uint16
        assert file["train/reference"].chunks == (1, 48, 56)
        assert file["train/ux_px"].dtype == np.float16


def test_a_longer_set_begins_with_the_shorter(pairs: PairSet, references: Path) -> None:
    path = pairs.path.with_name("longer.h5")
    write_pair_set(path, plan_pair_set(PairSetRequest(references, 32, 0, (48, 56), seed=9)))
    longer = open_pair_set(path).read([0, 29, 31])
    shorter = pairs.read([0, 29])
    assert torch.equal(longer.sample[:2], shorter.sample)
    assert torch.equal(longer.displacement_px[:2], shorter.displacement_px)
    assert not torch.equal(longer.sample[1], longer.sample[2])
    with pytest.raises(CadeError, match="holds no test pairs; make some with --test N"):
        open_pair_set(path, TEST)


def test_training_and_test_pairs_differ(pairs: PairSet) -> None:
    test = open_pair_set(pairs.path, TEST)
    assert test.rows == 5
    assert not torch.equal(test.read([0]).displacement_px, pairs.read([0]).displacement_px)


def test_faint_pairs_are_refused(pairs: PairSet, tmp_path: Path) -> None:
    faint = tmp_path / "faint.h5"
    faint.write_bytes(pairs.path.read_bytes())
    with h5py.File(faint, "r+") as file:
        file["train/visibility"][3] = 0.01
    with pytest.raises(CadeError, match=r"faint\.h5, train pair 3: no usable speckle"):
        open_pair_set(faint, TRAIN)
    assert open_pair_set(faint, TEST).rows == 5


def test_bright_counts_need_more_bits(references: Path) -> None:
    def kind(counts: float) -> str:
        return plan_pair_set(PairSetRequest(references, 6, 0, counts=counts)).dtype

    assert (kind(1000.0), kind(50_000.0)) == ("u2", "u4")


def test_size_is_known_beforehand(pairs: PairSet, references: Path) -> None:
    plan = plan_pair_set(PairSetRequest(references, 30, 5, (48, 56), seed=9))
    assert plan.total_bytes < pairs.path.stat().st_size < plan.total_bytes + 30_000


def test_contact_sheets(references: Path, pairs: PairSet, tmp_path: Path) -> None:
    sheet = pattern_sheet(references, 12e-6)
    assert sheet.width > 4 * TILE_PX
    grey = np.asarray(sheet.convert("L"))
    assert len(np.unique(grey)) > 100
    both = pair_sheet(pairs)
    assert both.height > 6 * SHAPE[0] * 0.75
    red, _, blue = (np.asarray(both, int)[..., channel] for channel in range(3))
    assert (red - blue).max() > 20  # displacements of both signs
    assert (blue - red).max() > 20
    save_sheet(sheet, tmp_path / "sheet.png")
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_tiles_are_cut_and_not_scaled() -> None:
    image = np.zeros((200, 300), np.float32)
    image[127, 127] = 2.0
    sheet = np.asarray(draw_sheet([Tile("", image, 0.0, 2.0)], 3))
    dark = np.argwhere(sheet[..., 0] == 0)
    assert np.ptp(dark, axis=0).tolist() == [TILE_PX - 1, TILE_PX - 1]
    assert sheet[tuple(dark.max(axis=0))].tolist() == [255, 255, 255]
