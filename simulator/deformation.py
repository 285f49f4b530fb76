"""Random displacement and attenuation maps (paper section II-B).

Nodes every `patch` pixels carry independent values, bilinear between nodes. The paper's text adds
that a patch moves in one direction; bilinear nodes do that only roughly, and so do ours. Maps of
one batch may have different patches; nothing here waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from simulator.draws import Draws

PATCHES_PX = (4, 8, 16, 32, 64, 128)
NODE_SIGMA_PX = 0.4
"""Standard deviation of a node's displacement, before clipping at 1 px."""
CONSTANT_PX = 0.15
"""Range of the paper's constant displacements."""
COARSE_PATCH_PX = 32
"""From this patch on a coarse stage can follow the displacement, and leaves what it leaves."""


def bilinear_map(
    nodes: torch.Tensor, patch_px: int, shape: tuple[int, int], offset_px: tuple[int, int]
) -> torch.Tensor:
    """Values `(C, h, w)` at nodes every `patch_px`, interpolated to `(C, H, W)`.

    `offset_px` (row, column) is where in the first patch the frame begins.
    """
    patches_px = torch.tensor([patch_px], device=nodes.device)
    offsets_px = torch.tensor([offset_px], device=nodes.device)
    return bilinear_maps(nodes[None], patches_px, shape, offsets_px)[0]


def bilinear_maps(
    nodes: torch.Tensor, patches_px: torch.Tensor, shape: tuple[int, int], offsets_px: torch.Tensor
) -> torch.Tensor:
    """`bilinear_map` of a batch: nodes `(N, C, h, w)`, patches `(N,)`, to `(N, C, H, W)`.

    `offsets_px` is `(N, 2)`, row and column. Nodes that a map does not reach are left aside.
    """
    for dim, (length, offset) in enumerate(zip(shape, offsets_px.unbind(1), strict=True), start=2):
        nodes = _between(nodes, dim, length, patches_px, offset)
    return nodes


def _between(
    nodes: torch.Tensor, dim: int, length: int, patches_px: torch.Tensor, offset_px: torch.Tensor
) -> torch.Tensor:
    """Linear interpolation of `(N, C, h, w)` along `dim` to `length` pixels."""
    pixel = torch.arange(length, device=nodes.device) + offset_px[:, None]
    first = pixel // patches_px[:, None]
    fraction = (pixel - first * patches_px[:, None]).to(nodes) / patches_px[:, None]
    view = [len(nodes), 1, 1, 1]
    view[dim] = length
    size = list(nodes.shape)
    size[dim] = length
    second = (first + 1).clamp(max=nodes.shape[dim] - 1)  # the last pixel may lie on the last node
    before = nodes.gather(dim, first.view(view).expand(size))
    after = nodes.gather(dim, second.view(view).expand(size))
    return before + fraction.view(view) * (after - before)


def _node_count(length_px: int, patch_px: int) -> int:
    """Nodes that cover a length with any offset inside the first patch."""
    return (length_px + patch_px - 2) // patch_px + 2


@dataclass(frozen=True, slots=True)
class Patches:
    """Node distances `px` `(N,)` of a batch on its device, and the least that may be among them."""

    px: torch.Tensor
    least: int

    def nodes(self, shape: tuple[int, int]) -> tuple[int, int]:
        """How many nodes suffice for maps of a shape."""
        return _node_count(shape[0], self.least), _node_count(shape[1], self.least)


@dataclass(frozen=True, slots=True)
class DeformationSettings:
    """What is drawn. The defaults are ours; `PAPER` is the paper's.

    Normal node values clipped at ±1 px show a network too few large shifts and it learns to shrink
    them; so a share `wide` of the maps is uniform in ±`wide_px`, and in ±`coarse_px` where patches
    are large (`COARSE_PATCH_PX`). Shares `constant` of the maps are one value (within
    ±`constant_px`) in x, in y or in both.
    """

    wide: float = 0.35
    wide_px: float = 1.25
    coarse_px: float = 1.25
    constant: float = 0.08
    constant_px: float = 1.25
    identity: float = 0.02


PAPER = DeformationSettings(wide=0.0, constant=0.015, constant_px=CONSTANT_PX, identity=0.005)


def random_displacements(
    shape: tuple[int, int], patches: Patches, settings: DeformationSettings, draws: Draws
) -> torch.Tensor:
    """Displacement maps `(N, 2, H, W)` in pixels: ux, uy."""
    count = len(patches.px)
    kind, axis = draws.uniform(count, 2)[:, :, None, None, None].unbind(1)
    grid = (count, 2, *patches.nodes(shape))
    large = (patches.px >= COARSE_PATCH_PX)[:, None, None, None]
    reach = torch.where(large, settings.coarse_px, settings.wide_px)
    wide = (draws.uniform(*grid) * 2 - 1) * reach
    nodes = (draws.normal(*grid) * NODE_SIGMA_PX).clamp(-1, 1)
    nodes = torch.where(kind > 1 - settings.wide, wide, nodes)
    shift = settings.constant_px * (draws.uniform(count, 2)[:, :, None, None] * 2 - 1)
    shift = shift * torch.cat([axis < 2 / 3, axis > 1 / 3], dim=1)
    nodes = torch.where(kind < settings.identity + settings.constant, shift, nodes)
    nodes = torch.where(kind < settings.identity, 0.0, nodes)
    return bilinear_maps(nodes, patches.px, shape, _offsets(patches, draws))


def random_transmissions(
    shape: tuple[int, int], patches: Patches, low: torch.Tensor, draws: Draws
) -> torch.Tensor:
    """Attenuation maps `(N, H, W)`: node values uniform from `low` `(N,)` to one (paper: 0.5)."""
    nodes = draws.uniform(len(low), 1, *patches.nodes(shape))
    floor = low[:, None, None, None]
    nodes = floor + (1 - floor) * nodes
    return bilinear_maps(nodes, patches.px, shape, _offsets(patches, draws))[:, 0]


def _offsets(patches: Patches, draws: Draws) -> torch.Tensor:
    """Where in the first patch a map begins, `(N, 2)`."""
    return draws.integers(1 << 30, len(patches.px), 2) % patches.px[:, None]
