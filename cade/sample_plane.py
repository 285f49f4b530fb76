"""Fields found on the detector's grid, taken to the rays' places in the sample.

What is found at pixel x belongs to the ray that left the sample at (x − v)/M, where v is how far
the ray moved between sample and detector, in detector pixels. As long as v is a pixel or two that
place is x; beyond, a lens would be integrated in the wrong place, and stretched.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from cade.bilinear import displaced_bilinear, from_outside

RESAMPLE_PX = 2.0
"""Frames whose rays all move less than this stay as they are."""
ITERATIONS = 50
TOLERANCE_PX = 1e-3
PIXEL_EDGE = 0.5
"""Pixels reach so far around their centres, the outermost ones beyond the last centre."""
LEAST_SHARE = 0.5
"""Of the bilinear weights around a place: the share of valid pixels that makes it valid."""


def to_sample_plane(fields: torch.Tensor, moved_px: torch.Tensor) -> torch.Tensor:
    """Fields `(N, C, H, W)` at the pixels' places in the sample plane, on the pitch p/M.

    Where a ray left the sample at s it arrives at x = s + v(x), so v(s) := v(x) solves
    v(s) = v(s + v(s)), by fixed-point iteration: it converges where rays do not cross.

    Args:
        fields: any fields on the detector's grid; NaN = invalid.
        moved_px: v(x), x and y, `(N, 2, H, W)`; NaN = invalid.

    Returns:
        The fields, NaN where the ray arrives at an invalid pixel or beside the detector. Frames
        that move by no more than `RESAMPLE_PX` are returned as they are.
    """
    far = moved_px.abs().nan_to_num(0.0).amax(dim=(1, 2, 3)) > RESAMPLE_PX
    if not bool(far.any()):
        return fields
    result = fields.clone()
    for frame in torch.nonzero(far).flatten().tolist():  # one at a time: memory
        result[frame] = _resampled(fields[frame][None], moved_px[frame][None])[0]
    return result


def _resampled(fields: torch.Tensor, moved_px: torch.Tensor) -> torch.Tensor:
    known = torch.isfinite(moved_px).all(dim=1, keepdim=True)
    arrives = _arrivals(_continued(moved_px.nan_to_num(0.0), known.to(moved_px.dtype)))
    valid = (torch.isfinite(fields) & known).to(fields.dtype)
    total = displaced_bilinear(fields.nan_to_num(0.0) * valid, -arrives)
    share = displaced_bilinear(valid, -arrives)
    invalid = (share < LEAST_SHARE) | from_outside(-arrives, PIXEL_EDGE)[:, None]
    return (total / share.clamp(min=LEAST_SHARE)).masked_fill(invalid, torch.nan)


def _arrivals(moved_px: torch.Tensor) -> torch.Tensor:
    """v(s) with v(s) = v(s + v(s))."""
    arrives = moved_px
    for _ in range(ITERATIONS):
        before, arrives = arrives, displaced_bilinear(moved_px, -arrives)
        if float((arrives - before).abs().max()) < TOLERANCE_PX:
            break
    return arrives


def _continued(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Values `(1, 2, H, W)` with the unknown ones from coarser and coarser means of the others.

    An iteration may pass over an invalid pixel on its way to a valid one.
    """
    if bool(known.all()) or not bool(known.any()):
        return values
    share = functional.avg_pool2d(known, 2, ceil_mode=True)
    means = functional.avg_pool2d(values * known, 2, ceil_mode=True)
    means = means / share.clamp(min=torch.finfo(share.dtype).tiny)
    coarse = _continued(means, (share > 0).to(share.dtype))
    fine = functional.interpolate(coarse, size=values.shape[-2:], mode="bilinear")
    return torch.where(known > 0, values, fine)
