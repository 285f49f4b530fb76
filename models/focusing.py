"""Transmission without focusing: absorption alone."""

from __future__ import annotations

import dataclasses

import torch

from cade.displacement import Displacement, focusing
from models.contrast import TRANSMISSION_SIGMA_PX
from models.normalisation import local_mean

LEAST_FOCUSING = 0.1
"""A smaller factor is a caustic, where rays cross and the determinant means nothing."""


def divide_focusing(displacement: Displacement[torch.Tensor]) -> Displacement[torch.Tensor]:
    """The displacement `(N, H, W)` with its transmission divided by det(1 − ∇u).

    What is measured is a ratio of local means, so the determinant is that of the displacement
    smoothed in the same window, over valid pixels. Without a transmission nothing changes.
    """
    if displacement.transmission is None:
        return displacement
    weight = displacement.valid.to(displacement.ux_px.dtype)
    smooth = (
        local_mean(u.nan_to_num(0.0), TRANSMISSION_SIGMA_PX, weight)
        for u in (displacement.ux_px, displacement.uy_px)
    )
    factor = focusing(*smooth).clamp(min=LEAST_FOCUSING)
    return dataclasses.replace(displacement, transmission=displacement.transmission / factor)
