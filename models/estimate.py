"""What a network returns, at each of its scales or passes."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """`u_px` `(N, 2, h, w)`: displacement in full-resolution pixels; `log_sigma` alike, or None."""

    u_px: torch.Tensor
    log_sigma: torch.Tensor | None = None
