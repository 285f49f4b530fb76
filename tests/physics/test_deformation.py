"""Random displacement and attenuation maps: nodes, ranges and shares."""

from __future__ import annotations

import pytest
import torch

from simulator.deformation import (
    PAPER,
    PATCHES_PX,
    DeformationSettings,
    bilinear_map,
    focusing,
    random_displacement,
    random_transmission,
)

SHAPE = (40, 56)


def maps(count: int, patch_px: int, settings: DeformationSettings) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = [random_displacement(SHAPE, patch_px, settings, generator) for _ in range(count)]
    return torch.stack(drawn)


def test_bilinear_between_nodes() -> None:
    nodes = torch.tensor([[[0.0, 4.0], [8.0, 12.0]]])
    full = bilinear_map(nodes, 4, (5, 5), (0, 0))
    rows, columns = torch.arange(5.0)[:, None], torch.arange(5.0)[None, :]
    torch.testing.assert_close(full[0], 2 * rows + columns)
    assert torch.equal(bilinear_map(nodes, 4, (2, 3), (1, 2))[0], full[0, 1:3, 2:5])


@pytest.mark.parametrize("patch_px", PATCHES_PX)
def test_every_frame_is_covered(patch_px: int) -> None:
    for seed in range(8):  # whatever the offset is
        generator = torch.Generator().manual_seed(seed)
        assert random_displacement(SHAPE, patch_px, PAPER, generator).shape == (2, *SHAPE)
        assert random_transmission(SHAPE, patch_px, 0.5, 1, generator).shape == SHAPE


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
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([random_transmission(SHAPE, 8, 0.5, 0.9, generator) for _ in range(50)])
    assert 0.5 <= float(drawn.min()) < 0.55
    assert 0.85 < float(drawn.max()) <= 0.9


def test_focusing_of_a_linear_field_is_its_determinant() -> None:
    y, x = (torch.arange(n, dtype=torch.float64) for n in SHAPE)
    a, b, c, d = 0.03, -0.02, 0.05, -0.04
    ux = a * x[None, :] + b * y[:, None]
    uy = c * x[None, :] + d * y[:, None]
    expected = (1 - a) * (1 - d) - b * c
    found = focusing(torch.stack([ux, uy]))
    torch.testing.assert_close(found, torch.full(SHAPE, expected, dtype=torch.float64))


def test_focusing_conserves_what_arrives() -> None:
    """∫ det(1 − ∇u) dx is the area, for a displacement that vanishes at the border."""
    y, x = (torch.linspace(0, torch.pi, n, dtype=torch.float64) for n in (96, 96))
    bump = 2 * (y.sin() ** 2)[:, None] * (x.sin() ** 2)[None, :]
    factor = focusing(torch.stack([bump, -0.5 * bump]))
    assert float((factor - 1).abs().max()) > 0.05
    assert float(factor.mean()) == pytest.approx(1, abs=1e-4)
