"""Random displacement and attenuation maps: nodes, ranges and shares."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from cade.displacement import focusing
from simulator.deformation import (
    PAPER,
    PATCHES_PX,
    DeformationSettings,
    Patches,
    bilinear_map,
    bilinear_maps,
    random_displacements,
    random_transmissions,
)
from simulator.draws import Draws

SHAPE = (40, 56)


def draws(*seeds: int) -> Draws:
    return Draws(tuple(torch.Generator().manual_seed(seed) for seed in seeds or (0,)))


def patches(*px: int) -> Patches:
    return Patches(torch.tensor(px), min(px))


def maps(count: int, patch_px: int, settings: DeformationSettings) -> torch.Tensor:
    return random_displacements(SHAPE, patches(*[patch_px] * count), settings, draws())


def test_bilinear_between_nodes() -> None:
    nodes = torch.tensor([[[0.0, 4.0], [8.0, 12.0]]])
    full = bilinear_map(nodes, 4, (5, 5), (0, 0))
    rows, columns = torch.arange(5.0)[:, None], torch.arange(5.0)[None, :]
    torch.testing.assert_close(full[0], 2 * rows + columns)
    assert torch.equal(bilinear_map(nodes, 4, (2, 3), (1, 2))[0], full[0, 1:3, 2:5])


def test_a_batch_is_its_maps_one_by_one() -> None:
    """Every map by PyTorch's own interpolation, whatever its patch and offset are."""
    generator = torch.Generator().manual_seed(1)
    nodes = torch.rand((len(PATCHES_PX), 2, 13, 17), generator=generator, dtype=torch.float64)
    sizes = torch.tensor(PATCHES_PX)
    offsets = torch.stack([sizes - 1, sizes // 2], dim=1)
    found = bilinear_maps(nodes, sizes, SHAPE, offsets)
    for index, patch_px in enumerate(PATCHES_PX):
        size = (12 * patch_px + 1, 16 * patch_px + 1)
        full = functional.interpolate(
            nodes[index][None], size=size, mode="bilinear", align_corners=True
        )[0]
        top, left = offsets[index].tolist()
        expected = full[:, top : top + SHAPE[0], left : left + SHAPE[1]]
        torch.testing.assert_close(found[index], expected)


def test_every_frame_is_covered() -> None:
    """The grid of the least patch of a batch reaches over all frames, whatever the offsets are."""
    for seed in range(8):
        several = patches(*PATCHES_PX)
        assert random_displacements(SHAPE, several, PAPER, draws(seed)).shape == (6, 2, *SHAPE)
        low = torch.full((6,), 0.5)
        assert random_transmissions(SHAPE, several, low, draws(seed)).shape == (6, *SHAPE)
    for patch_px in PATCHES_PX:
        assert maps(4, patch_px, PAPER).shape == (4, 2, *SHAPE)


def test_a_shard_depends_on_its_generator_alone() -> None:
    both = random_displacements(SHAPE, patches(4, 8, 4, 8), PAPER, draws(3, 5))
    for index, seed in enumerate((3, 5)):
        alone = random_displacements(SHAPE, patches(4, 8), PAPER, draws(seed))
        assert torch.equal(both[2 * index : 2 * index + 2], alone)


def test_second_differences_vanish_within_a_patch() -> None:
    u = maps(1, 8, DeformationSettings(wide=1, constant=0, identity=0))[0]
    kinks = u.diff(n=2, dim=-1).abs().amax(dim=(0, 1)) > 1e-5
    assert kinks.nonzero().flatten().diff().tolist() == [8] * (int(kinks.sum()) - 1)


def test_paper_nodes_are_normal_and_clipped() -> None:
    u = maps(200, 4, DeformationSettings(wide=0, constant=0, identity=0))
    corners = u[:, :, ::4, ::4]
    assert float(u.abs().max()) == 1
    assert float(u.mean()) == pytest.approx(0, abs=0.01)
    # Offsets in the first patch are random: a pixel lies between nodes at any place.
    assert float(corners.std()) == pytest.approx(0.4 * 2 / 3, rel=0.05)


def test_wide_nodes_are_uniform() -> None:
    u = maps(200, 4, DeformationSettings(wide=1, constant=0, identity=0))
    assert 1.2 < float(u.abs().max()) <= 1.25
    assert float((u.abs() > 1).float().mean()) > 0.02


def test_wide_nodes_of_large_patches_reach_as_far_as_a_coarse_stage_leaves() -> None:
    settings = DeformationSettings(wide=1, coarse_px=2.5, constant=0, identity=0)
    largest = {patch_px: float(maps(300, patch_px, settings).abs().max()) for patch_px in (16, 32)}
    assert largest[16] <= 1.25
    assert 2.4 < largest[32] <= 2.5
    normal = DeformationSettings(wide=0, coarse_px=2.5, constant=0, identity=0)
    assert float(maps(300, 32, normal).abs().max()) <= 1


def test_shares_of_constant_maps() -> None:
    u = maps(2000, 16, PAPER)
    flat = (u.amax(dim=(-2, -1)) - u.amin(dim=(-2, -1))).amax(dim=1) == 0
    values = u[flat][:, :, 0, 0]
    moved = values != 0
    kinds = {
        name: int(mask.sum())
        for name, mask in (
            ("identity", ~moved[:, 0] & ~moved[:, 1]),
            ("x", moved[:, 0] & ~moved[:, 1]),
            ("y", ~moved[:, 0] & moved[:, 1]),
            ("xy", moved[:, 0] & moved[:, 1]),
        )
    }
    assert all(2 <= count <= 22 for count in kinds.values()), kinds  # 0.5 % each of 2000
    assert float(values.abs().max()) <= 0.15


def test_transmission_stays_in_its_range() -> None:
    low = torch.tensor([0.5, 0.9]).repeat(25)
    drawn = random_transmissions(SHAPE, patches(*[8] * 50), low, draws())
    for index, floor in enumerate((0.5, 0.9)):
        values = (drawn[index::2] - floor) / (1 - floor)
        assert 0 <= float(values.min()) < 0.1
        assert 0.9 < float(values.max()) <= 1


def test_focusing_of_a_linear_field_is_its_determinant() -> None:
    y, x = (torch.arange(n, dtype=torch.float64) for n in SHAPE)
    a, b, c, d = 0.03, -0.02, 0.05, -0.04
    ux = a * x[None, :] + b * y[:, None]
    uy = c * x[None, :] + d * y[:, None]
    expected = (1 - a) * (1 - d) - b * c
    found = focusing(ux, uy)
    torch.testing.assert_close(found, torch.full(SHAPE, expected, dtype=torch.float64))


def test_focusing_conserves_what_arrives() -> None:
    """∫ det(1 − ∇u) dx is the area, for a displacement that vanishes at the border."""
    y, x = (torch.linspace(0, torch.pi, n, dtype=torch.float64) for n in (96, 96))
    bump = 2 * (y.sin() ** 2)[:, None] * (x.sin() ** 2)[None, :]
    factor = focusing(bump, -0.5 * bump)
    assert float((factor - 1).abs().max()) > 0.05
    assert float(factor.mean()) == pytest.approx(1, abs=1e-4)
