"""Where a displacement can be believed.

Where the sample's speckle is foreign (decorrelated, covered, absent) regressing it on the displaced
reference gives nothing. The judgement uses two windows and, as edges are found (Canny), two
thresholds: cells that are bad for certain grow into doubtful neighbours, so a bad patch is drawn to
its border, while the noise of the small window raises no alarm of its own.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from models.contrast import Contrast
from models.normalisation import POOL

CERTAIN, CERTAIN_WIDE = 0.16, 0.36
"""Agreement below which a cell is bad for certain, in the small and in the wide window."""
DOUBTFUL = 0.78
"""Agreement in the small window below which a cell is bad if a bad one is next to it."""
GROWTH_CELLS = 10


def reliable(contrast: Contrast) -> torch.Tensor:
    """True where the sample's speckle is the displaced reference's, `(N, H, W)` bool."""
    height, width = contrast.dark_field.shape[-2:]
    doubtful = (contrast.agreement < DOUBTFUL).float()[:, None]
    certain = (contrast.agreement < CERTAIN) | (contrast.wide_agreement < CERTAIN_WIDE)
    bad = certain.float()[:, None]
    for _ in range(GROWTH_CELLS):
        bad = functional.max_pool2d(bad, 3, 1, 1) * doubtful
    bad = functional.max_pool2d(bad, 3, 1, 1)  # the window blurs a patch's border
    fine = functional.interpolate(bad, scale_factor=POOL)[:, 0, :height, :width]
    return fine == 0
