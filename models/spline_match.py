"""Windows of a sample fitted by a reference between whole shifts, all pixels of a frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cade.displacement import Displacement
from models.integer_search import shows_source
from models.interpolation_loss import power_loss
from models.lag_sums import lag_sums, reference_splines
from models.local_contrast import at_source, continued, window_tiles
from models.normalisation import MEAN_SIGMA_PX, local_mean
from models.subpixel_cost import CostMinimum, SampleSums, minimise
from models.windows import WindowSums

LEAST_CONTRAST = 0.005
"""Local visibility of the reference below which there is no speckle."""
LEAST_WEIGHT = 0.3
"""Share of a window, as far as it is in the frame, whose pixels must count."""
LEAST_CORRELATION = 0.3
"""Of a window and what it is fitted by."""
MOST_STEP_PX = 0.05
"""A last step above this is no convergence."""
_PARAMETERS = 4
_SPLINE_PX = 3
_CONTINUED_PX = 4
_LEAST_COST = 1e-7
_FIELDS = 8
_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class SplineReference:
    """References made ready: their splines, and what interpolation loses of their power."""

    splines: torch.Tensor
    loss: torch.Tensor


def spline_reference(
    mean: torch.Tensor, rest: torch.Tensor, weight: torch.Tensor, reach_px: int
) -> SplineReference:
    """Make references ready for shifts within ±`reach_px`.

    Args:
        mean: what is fitted as their mean, less one, `(N, P, H, W)`.
        rest: what is fitted as their contrast, 0 where unknown.
        weight: 1 where they are known.
        reach_px: largest whole shift.
    """
    border = reach_px + _SPLINE_PX
    splines = reference_splines(mean, continued(rest, weight, _CONTINUED_PX), border)
    loss = power_loss(splines)[..., border:-border, border:-border]
    return SplineReference(splines, loss.contiguous())


def match(
    reference: SplineReference,
    sample: torch.Tensor,
    weight: torch.Tensor,
    shift: torch.Tensor,
    taps: torch.Tensor,
) -> Displacement[torch.Tensor]:
    """The best fit near whole shifts.

    Args:
        reference: from `spline_reference`.
        sample: `(N, P, H, W)`.
        weight: 1 where a pixel counts; it must be known in the reference at the same place, too.
        shift: whole pixels `(N, 2, H, W)`, x and y.
        taps: of the window.

    Returns:
        Fields `(N, H, W)`, finite everywhere; `valid` where the fit holds.
    """
    count, positions, height, width = sample.shape
    weight = weight * at_source(weight, shift) * shows_source(shift)[:, None]
    counted, loss = sample * weight, _loss(reference.loss, weight, shift)
    fields = sample.new_empty((count, _FIELDS, height, width))
    for tile in window_tiles((int(height), int(width)), taps):
        window = WindowSums(taps, tile)
        lags = lag_sums(reference.splines, counted, weight, shift, window, tile)
        weights, light, square = (
            window(image[..., *tile.read].sum(1)).reshape(-1)
            for image in (weight, counted, counted * sample)
        )
        sums = SampleSums(weights, light, square)
        lost = window(loss[..., *tile.read]).transpose(0, 1).reshape(loss.shape[1], -1)
        minimum = minimise(lags, sums, lost)
        whole = window(torch.ones_like(weight[:, 0, *tile.read])).reshape(-1) * positions
        holds = _holds(minimum, sums) & (weights > LEAST_WEIGHT * whole)
        values = torch.stack([*_values(minimum, sums, taps), holds.to(sample.dtype)])
        kept = fields[..., *tile.keep]
        kept.copy_(values.reshape(_FIELDS, count, *kept.shape[-2:]).transpose(0, 1))
    fields[:, :2] += shift
    return _displacement(fields)


def _loss(loss: torch.Tensor, weight: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """What the reference's power loses at the source of each pixel that counts, `(N, 10, H, W)`."""
    moved = at_source(loss.flatten(1, 2), shift).reshape(loss.shape)
    return (moved * weight[:, :, None]).sum(dim=1)


def _values(minimum: CostMinimum, sums: SampleSums, taps: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Offset, sigma for noise of variance one, T, D and the variance of the noise, `(pixels)`.

    Least squares: the noise over the cost's curvature. Pixels at the rim of a window count less,
    and so does their noise.
    """
    share = float(taps.square().sum()) ** 2  # Σ w² / (Σ w)²
    pixels = sums.weight / share
    noise = minimum.cost * pixels / (pixels - _PARAMETERS).clamp(min=1)
    determinant = minimum.bend_xx * minimum.bend_yy - minimum.bend_xy.square()
    scale = 2 * share / determinant.clamp(min=torch.finfo(noise.dtype).tiny)
    sigma = ((-bend * scale).clamp(min=0).sqrt() for bend in (minimum.bend_yy, minimum.bend_xx))
    mean = minimum.mean
    dark_field = minimum.contrast / torch.where(mean.abs() > _TINY, mean, _TINY)
    return minimum.x, minimum.y, *sigma, mean, dark_field, noise


def _holds(minimum: CostMinimum, sums: SampleSums) -> torch.Tensor:
    """Whether it is a minimum between the shifts tried, of a sample that shows the reference."""
    weight = sums.weight.clamp(min=_TINY)
    variance = sums.square / weight - (sums.sample / weight).square()
    between = (minimum.x.abs() < 1) & (minimum.y.abs() < 1) & (minimum.step_px < MOST_STEP_PX)
    alike = (minimum.contrast > 0) & (minimum.cost < (1 - LEAST_CORRELATION**2) * variance)
    return minimum.found & between & alike & (minimum.power > LEAST_CONTRAST**2)


def _displacement(fields: torch.Tensor) -> Displacement[torch.Tensor]:
    """The fields, with the noise of a pixel at least the mean of those around it.

    A window of little noise has a cost that is nearly all error of interpolation, of either sign.
    """
    ux, uy, sigma_x, sigma_y, mean, dark_field, noise, holds = fields.unbind(1)
    around = local_mean(noise, MEAN_SIGMA_PX, holds)
    error = torch.maximum(noise, around).clamp(min=_LEAST_COST).sqrt()
    return Displacement(
        ux_px=ux,
        uy_px=uy,
        valid=holds > 0,
        sigma_x_px=sigma_x * error,
        sigma_y_px=sigma_y * error,
        transmission=mean,
        dark_field=dark_field,
    )
