"""Random displacement and attenuation maps (paper section II-B).

Nodes every `patch` pixels carry independent values, bilinear between nodes. The paper's text adds
that a patch moves in one direction; bilinear nodes do that only roughly, and so do ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

PATCHES_PX = (4, 8, 16, 32, 64, 128)
NODE_SIGMA_PX = 0.4
"""Standard deviation of a node's displacement, before clipping at 1 px."""
CONSTANT_PX = 0.15
"""Range of the paper's constant displacements."""


def bilinear_map(
    nodes: torch.Tensor, patch_px: int, shape: tuple[int, int], offset_px: tuple[int, int]
) -> torch.Tensor:
    """Values `(C, h, w)` at nodes every `patch_px`, interpolated to `(C, H, W)`.

    `offset_px` (row, column) is where in the first patch the frame begins.
    """
    rows, columns = nodes.shape[-2:]
    size = ((rows - 1) * patch_px + 1, (columns - 1) * patch_px + 1)
    full = functional.interpolate(nodes[None], size=size, mode="bilinear", align_corners=True)[0]
    top, left = offset_px
    return full[:, top : top + shape[0], left : left + shape[1]]


def _node_count(length_px: int, patch_px: int) -> int:
    """Nodes that cover a length with any offset inside the first patch."""
    return (length_px + 2 * patch_px - 2) // patch_px + 1


@dataclass(frozen=True, slots=True)
class DeformationSettings:
    """What is drawn. The defaults are ours; `PAPER` is the paper's.

    Normal node values clipped at ±1 px show a network too few large shifts and it learns to shrink
    them; so a share `wide` of the maps is uniform in ±`wide_px`. Shares `constant` of the maps are
    one value (within ±`constant_px`) in x, in y or in both.
    """

    wide: float = 0.35
    wide_px: float = 1.25
    constant: float = 0.08
    constant_px: float = 1.25
    identity: float = 0.02


PAPER = DeformationSettings(wide=0.0, constant=0.015, constant_px=CONSTANT_PX, identity=0.005)


def random_displacement(
    shape: tuple[int, int], patch_px: int, settings: DeformationSettings, generator: torch.Generator
) -> torch.Tensor:
    """One displacement map `(2, H, W)` in pixels: ux, uy."""
    device = generator.device
    kind, axis = torch.rand(2, generator=generator, device=device).tolist()
    if kind < settings.identity:
        return torch.zeros((2, *shape), device=device)
    if kind < settings.identity + settings.constant:
        value = torch.rand(2, generator=generator, device=device) * 2 - 1
        keep = torch.tensor([axis < 2 / 3, axis > 1 / 3], device=device)
        shift = settings.constant_px * value * keep
        return shift[:, None, None].expand(2, *shape).contiguous()
    nodes_shape = (2, _node_count(shape[0], patch_px), _node_count(shape[1], patch_px))
    if kind > 1 - settings.wide:
        nodes = torch.rand(nodes_shape, generator=generator, device=device) * 2 - 1
        nodes = nodes * settings.wide_px
    else:
        nodes = torch.randn(nodes_shape, generator=generator, device=device) * NODE_SIGMA_PX
        nodes = nodes.clamp(-1, 1)
    return bilinear_map(nodes, patch_px, shape, _offset(patch_px, generator))


def random_transmission(
    shape: tuple[int, int], patch_px: int, low: float, high: float, generator: torch.Generator
) -> torch.Tensor:
    """One attenuation map `(H, W)`: node values uniform in [low, high] (paper: 0.5 to 1)."""
    count = (1, _node_count(shape[0], patch_px), _node_count(shape[1], patch_px))
    nodes = low + (high - low) * torch.rand(count, generator=generator, device=generator.device)
    return bilinear_map(nodes, patch_px, shape, _offset(patch_px, generator))[0]


def _offset(patch_px: int, generator: torch.Generator) -> tuple[int, int]:
    offset = torch.randint(0, patch_px, (2,), generator=generator, device=generator.device)
    return int(offset[0]), int(offset[1])


def focusing(displacement: torch.Tensor) -> torch.Tensor:
    """det(1 − ∇u) of `(..., 2, H, W)`: the intensity that refraction gathers or spreads."""
    ux, uy = displacement[..., 0, :, :], displacement[..., 1, :, :]
    ux_y, ux_x = torch.gradient(ux, dim=(-2, -1))
    uy_y, uy_x = torch.gradient(uy, dim=(-2, -1))
    return (1 - ux_x) * (1 - uy_y) - ux_y * uy_x
