"""Reference and sample frames with known displacement, from patterns: what networks train on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from cade.displacement import focusing
from cade.errors import UsageError
from cade.interpolation import sample_spline, spline_coefficients
from simulator.deformation import (
    PATCHES_PX,
    DeformationSettings,
    Patches,
    random_displacements,
    random_transmissions,
)
from simulator.detector import HALF_PIXELS, expose
from simulator.draws import Draws, as_draws

_BORDER = 12
"""Samples around a crop from which displaced positions and the spline's filter may read."""


@dataclass(frozen=True, slots=True)
class PairSettings:
    """Ranges from which every pair of a batch is drawn independently.

    `visibility` rescales the contrast of the pattern (log-uniform; None keeps it); `counts` is N0,
    the mean counts of the reference (log-uniform); `transmission` the range of the attenuation map;
    `focusing` the share of pairs that carry the factor det(1 − ∇u); `flat` the share whose
    attenuation is uniform. `periodic` patterns join up at their borders, and crops start anywhere.
    """

    patches_px: tuple[int, ...] = PATCHES_PX
    visibility: tuple[float, float] | None = (0.05, 0.6)
    counts: tuple[float, float] = (200.0, 30_000.0)
    transmission: tuple[float, float] = (0.2, 1.0)
    focusing: float = 0.5
    flat: float = 0.5
    periodic: bool = True
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
    patterns: torch.Tensor,
    count: int,
    shape: tuple[int, int],
    generator: torch.Generator | Draws,
    *,
    periodic: bool = True,
) -> torch.Tensor:
    """Random crops of patterns `(P, 2H, 2W)` with a border, randomly mirrored.

    Mirroring along and across the diagonal makes eight patterns of each.

    Raises:
        UsageError: patterns that do not join up at their borders are smaller than the crops.
    """
    _, height, width = patterns.shape
    size = HALF_PIXELS * max(shape) + 2 * _BORDER  # square, because of the transposition
    starts = (height, width) if periodic else (height - size + 1, width - size + 1)
    if min(starts) < 1:
        raise UsageError(
            f"patterns of {height} × {width} samples are too small for crops of "
            f"{shape[0]} × {shape[1]} px, which need {size} × {size} samples"
        )
    which, top, left, mirror = as_draws(generator).integers(1 << 30, count, 4)[:, :, None].unbind(1)
    steps = torch.arange(size, device=patterns.device)
    last = size - 1
    down = torch.where((mirror & 1).bool(), last - steps, steps)
    right = torch.where((mirror & 2).bool(), last - steps, steps)
    rows = (top % starts[0] + down) % height * width
    columns = (left % starts[1] + right) % width
    turned = (mirror & 4).bool()
    first, second = torch.where(turned, columns, rows), torch.where(turned, rows, columns)
    first = (which % len(patterns)) * (height * width) + first
    first = first[:, : HALF_PIXELS * shape[0] + 2 * _BORDER]
    second = second[:, : HALF_PIXELS * shape[1] + 2 * _BORDER]
    return patterns.reshape(-1)[first[:, :, None] + second[:, None, :]].float()


def _log_uniform(limits: tuple[float, float], count: int, draws: Draws) -> torch.Tensor:
    low, high = (math.log(v) for v in limits)
    return torch.exp(low + (high - low) * draws.uniform(count))


def _random_patches(settings: PairSettings, count: int, draws: Draws) -> Patches:
    choice = draws.integers(len(settings.patches_px), count)
    # Sent as a table, the sizes would make the host wait for the device.
    px = sum((choice == i) * patch for i, patch in enumerate(settings.patches_px))
    return Patches(torch.as_tensor(px), min(settings.patches_px))


def _maps(
    settings: PairSettings, patches: Patches, shape: tuple[int, int], draws: Draws
) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacements `(N, 2, H, W)` and what multiplies the intensities `(N, H, W)`."""
    u = random_displacements(shape, patches, settings.deformation, draws)
    flat, focus, level = draws.uniform(len(u), 3).unbind(1)
    low, high = settings.transmission
    level = low + (high - low) * level
    # Node values between a random floor and one: from faint to strong attenuation contrast.
    varied = random_transmissions(shape, patches, level, draws)
    factor = torch.where(_maplike(flat < settings.flat), _maplike(level), varied)
    focused = factor * focusing(u[:, 0], u[:, 1])
    return u, torch.where(_maplike(focus < settings.focusing), focused, factor)


def _maplike(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None]


def _exposed(intensity: torch.Tensor, counts: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Intensities `(N, H, W)` with the noise of `counts` `(N,)`, in units of the mean counts."""
    n0 = _maplike(counts)
    parts = (part.tensor_split(len(draws.generators)) for part in (intensity, n0))
    shards = zip(*parts, draws.generators, strict=True)
    return torch.cat([expose(image, mean, g) for image, mean, g in shards]) / n0


def make_pairs(
    patterns: torch.Tensor,
    count: int,
    shape: tuple[int, int],
    settings: PairSettings,
    generator: torch.Generator | Draws,
    patches_px: Sequence[int] | None = None,
) -> PairSample:
    """Fresh pairs from patterns `(P, 2H, 2W)` of mean one; `patches_px` fixes each pair's patch.

    On a GPU the host does not wait for any of it, unless `patches_px` is given.
    """
    draws = as_draws(generator)
    if patches_px is None:
        patches = _random_patches(settings, count, draws)
    else:
        patches = Patches(torch.tensor(patches_px, device=draws.device), min(patches_px))
    crops = crop_patterns(patterns, count, shape, draws, periodic=settings.periodic)
    if settings.visibility is not None:
        wanted = _log_uniform(settings.visibility, count, draws)
        scale = wanted / crops.std(dim=(-2, -1))
        crops = (1 + _maplike(scale) * (crops - 1)).clamp(min=0.02)
    u, factor = _maps(settings, patches, shape, draws)
    inside = slice(_BORDER, -_BORDER)
    reference = crops[:, inside, inside][:, ::HALF_PIXELS, ::HALF_PIXELS]
    sample = factor * displaced_intensity(spline_coefficients(crops), u)
    counts = _log_uniform(settings.counts, count, draws)
    return PairSample(
        reference=_exposed(reference, counts, draws),
        sample=_exposed(sample, counts, draws),
        displacement_px=u,
        transmission=factor,
    )
