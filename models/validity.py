"""Where a displacement can be believed."""

from __future__ import annotations

import torch

from models.contrast import Contrast

LEAST_CORRELATION = 0.4
SHARE_OF_MEDIAN = 0.72
"""A pixel must reach this share of the frame's median correlation. In a good frame half a window of
foreign speckle falls below it, so the border of a bad patch is drawn where the patch ends."""


def reliable(contrast: Contrast) -> torch.Tensor:
    """True where the sample's speckle is the displaced reference's, `(N, H, W)` bool."""
    correlation = contrast.correlation
    median = correlation.flatten(1).median(dim=1).values
    threshold = (SHARE_OF_MEDIAN * median).clamp(min=LEAST_CORRELATION)
    return correlation > threshold[:, None, None]
