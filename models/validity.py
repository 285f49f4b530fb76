"""Where a displacement can be believed.

Where the sample's speckle is foreign (decorrelated, covered, absent), regressing it on the
displaced reference gives nothing. Where the sample only adds structure of its own (edges, scatter)
the correlation falls as well, down to 0.2 on real rods, but that regression does not: it is judged,
not the correlation. The judgement is made on a coarse grid with two thresholds, as edges are found
(Canny): certain cells grow into their doubtful neighbours, so a bad patch is drawn to its border
while a lone doubtful cell is left alone.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from models.contrast import Contrast

CELL_PX = 4
CERTAIN, DOUBTFUL = 0.3, 0.68
"""Regression, in units of what a good pair gives, below which a cell is bad for certain, or if a
bad one is next to it."""
GROWTH_CELLS = 8
MOST_EXCESS = 20.0


def reliable(contrast: Contrast) -> torch.Tensor:
    """True where the sample's speckle is the displaced reference's, `(N, H, W)` bool."""
    height, width = contrast.dark_field.shape[-2:]
    cells = functional.avg_pool2d(_agreement(contrast)[:, None], CELL_PX, ceil_mode=True)
    doubtful = (cells < DOUBTFUL).float()
    bad = (cells < CERTAIN).float()
    for _ in range(GROWTH_CELLS):
        bad = functional.max_pool2d(bad, 3, 1, 1) * doubtful
    fine = functional.interpolate(bad, scale_factor=CELL_PX)[:, 0, :height, :width]
    return fine == 0


def _agreement(contrast: Contrast) -> torch.Tensor:
    """Regression coefficient, raised where the sample has more structure than its reference.

    The coefficient's own uncertainty grows with the sample's standard deviation over the
    reference's, which is coefficient over correlation.
    """
    coefficient, correlation = contrast.dark_field, contrast.correlation
    excess = (coefficient / correlation.clamp(min=1e-3)).clamp(1, MOST_EXCESS)
    return torch.where(correlation > 0, coefficient * excess, coefficient)
