"""Reference and sample frames with known displacement, from patterns: what networks train on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from cade.interpolation import sample_spline, spline_coefficients
from simulator.deformation import (
    PATCHES_PX,
    DeformationSettings,
    focusing,
    random_displacement,
    random_transmission,
)
from simulator.detector import HALF_PIXELS, expose

_BORDER = 12
"""Samples around a crop from which displaced positions and the spline's filter may read."""


@dataclass(frozen=True, slots=True)
class PairSettings:
    """Ranges from which every pair of a batch is drawn independently.

    `visibility` rescales the contrast of the pattern (log-uniform; None keeps it); `counts` is N0,
    the mean counts of the reference (log-uniform); `transmission` the range of the attenuation map;
    `focusing` the share of pairs that carry the factor det(1 − ∇u); `flat` the share whose
    attenuation is uniform.
    """

    patches_px: tuple[int, ...] = PATCHES_PX
    visibility: tuple[float, float] | None = (0.05, 0.6)
    counts: tuple[float, float] = (200.0, 30_000.0)
    transmission: tuple[float, float] = (0.2, 1.0)
    focusing: float = 0.5
    flat: float = 0.5
    deformation: DeformationSettings = field(default_factory=DeformationSettings)


@dataclass(frozen=True, slots=True, eq=False)
class PairSample:
    """A batch: `reference`, `sample`, `transmission` `(N, H, W)`; `displacement_px` `(N, 2, H, W)`.

    Frames are in units of the mean reference count.
    """

    reference: torch.Tensor
    sample: torch.Tensor
    displacement_px: torch.Tensor
    transmission: torch.Tensor


def displaced_intensity(
    coefficients: torch.Tensor, displacement_px: torch.Tensor, origin: int = _BORDER
) -> torch.Tensor:
    """Detector-plane intensity at x − u(x): exact, from two samples a pixel.

    Args:
        coefficients: spline coefficients `(N, h, w)` of the intensity at two samples a pixel.
        displacement_px: `(N, 2, H, W)` in detector pixels.
        origin: sample of `coefficients` at which pixel `[0, 0]` lies.
    """
    height, width = displacement_px.shape[-2:]
    y = torch.arange(height, device=coefficients.device)[None, :, None]
    x = torch.arange(width, device=coefficients.device)[None, None, :]
    return sample_spline(
        coefficients,
        origin + HALF_PIXELS * (x - displacement_px[:, 0]),
        origin + HALF_PIXELS * (y - displacement_px[:, 1]),
    )


def crop_patterns(
    patterns: torch.Tensor, count: int, shape: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """Random crops of periodic patterns `(P, 2H, 2W)` with a border, randomly mirrored.

    Mirroring along and across the diagonal makes eight patterns of each.
    """
    long = max(shape)  # square, because of the transposition
    size = HALF_PIXELS * long + 2 * _BORDER
    steps = torch.arange(size, device=patterns.device)
    crops = []
    for _ in range(count):
        draws = torch.randint(0, 1 << 30, (4,), generator=generator, device=generator.device)
        which, top, left, mirror = draws.tolist()
        pattern = patterns[which % len(patterns)]
        rows, columns = (top + steps) % pattern.shape[0], (left + steps) % pattern.shape[1]
        crop = pattern[rows[:, None], columns[None, :]].float()
        crop = crop.flip(0) if mirror & 1 else crop
        crop = crop.flip(1) if mirror & 2 else crop
        crop = crop.T if mirror & 4 else crop
        crops.append(crop)
    border = 2 * _BORDER
    cut = torch.stack(crops)
    return cut[:, : HALF_PIXELS * shape[0] + border, : HALF_PIXELS * shape[1] + border]


def _log_uniform(
    limits: tuple[float, float], count: int, generator: torch.Generator
) -> torch.Tensor:
    low, high = (math.log(v) for v in limits)
    draw = torch.rand(count, generator=generator, device=generator.device)
    return torch.exp(low + (high - low) * draw)


def _uniform_transmission(settings: PairSettings, generator: torch.Generator) -> float:
    low, high = settings.transmission
    return low + (high - low) * float(torch.rand((), generator=generator, device=generator.device))


def _maps(
    settings: PairSettings, patch_px: int, shape: tuple[int, int], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacement `(2, H, W)` and what multiplies the intensity `(H, W)` of one pair."""
    u = random_displacement(shape, patch_px, settings.deformation, generator)
    flat, focus = torch.rand(2, generator=generator, device=generator.device).tolist()
    level = _uniform_transmission(settings, generator)
    if flat < settings.flat:
        factor = torch.full(shape, level, device=generator.device)
    else:
        # Node values between a random floor and one: from faint to strong attenuation contrast.
        factor = random_transmission(shape, patch_px, level, 1.0, generator)
    return u, factor * focusing(u) if focus < settings.focusing else factor


def make_pairs(
    patterns: torch.Tensor,
    count: int,
    shape: tuple[int, int],
    settings: PairSettings,
    generator: torch.Generator,
    patches_px: Sequence[int] | None = None,
) -> PairSample:
    """Fresh pairs from patterns `(P, 2H, 2W)` of mean one; `patches_px` fixes each pair's patch."""
    device = patterns.device
    if patches_px is None:
        choice = torch.randint(
            0, len(settings.patches_px), (count,), generator=generator, device=generator.device
        )
        patches_px = [settings.patches_px[i] for i in choice.tolist()]
    crops = crop_patterns(patterns, count, shape, generator)
    if settings.visibility is not None:
        wanted = _log_uniform(settings.visibility, count, generator)
        scale = wanted / crops.std(dim=(-2, -1))
        crops = (1 + scale[:, None, None] * (crops - 1)).clamp(min=0.02)
    maps = [_maps(settings, patch, shape, generator) for patch in patches_px]
    u = torch.stack([m[0] for m in maps])
    factor = torch.stack([m[1] for m in maps])
    inside = slice(_BORDER, -_BORDER)
    reference = crops[:, inside, inside][:, ::HALF_PIXELS, ::HALF_PIXELS]
    sample = factor * displaced_intensity(spline_coefficients(crops), u)
    counts = _log_uniform(settings.counts, count, generator)[:, None, None].to(device)
    return PairSample(
        reference=expose(reference, counts, generator) / counts,
        sample=expose(sample, counts, generator) / counts,
        displacement_px=u,
        transmission=factor,
    )
