"""Dark and flat correction: counts to intensities that only sample and speckle have shaped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cade.errors import CadeError
from cade.frames import Image
from daemon.scan_header import Parameter

LEAST_FLAT = 0.05
"""A pixel with less than this share of the flat's mean is dead: it becomes invalid."""


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """`(I − dark)/(flat − dark)`, the denominator scaled to mean one; each may be missing.

    `dark` and `gain` are `(H, W)` float32; `gain` is NaN on dead pixels.
    """

    dark: NDArray[np.float32] | None = None
    gain: NDArray[np.float32] | None = None

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the result file says about it."""
        return (
            Parameter("dark", self.dark is not None),
            Parameter("flat", self.gain is not None),
        )

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Corrected float32 images `(..., H, W)` on their device."""
        if self.dark is not None:
            images = images - torch.from_numpy(self.dark).to(images.device)
        if self.gain is not None:
            images = images * torch.from_numpy(self.gain).to(images.device)
        return images


def make_correction(flat: Image | None, dark: Image | None) -> Correction:
    """The correction that averaged flat and dark frames `(H, W)` make.

    Raises:
        CadeError: they have different shapes, or the flat is empty.
    """
    if flat is None:
        return Correction(None if dark is None else np.asarray(dark, np.float32))
    if dark is not None and dark.shape != flat.shape:
        raise CadeError(f"flat {flat.shape} and dark {dark.shape} have different shapes")
    light = np.asarray(flat, np.float32) - (0.0 if dark is None else np.asarray(dark, np.float32))
    known = light[np.isfinite(light)]
    mean = float(known.mean()) if known.size else 0.0
    if mean <= 0:
        raise CadeError(f"the flat holds no light above the dark (mean {mean:.3g} counts)")
    dead = ~(light > LEAST_FLAT * mean)
    gain = np.where(dead, np.nan, mean / np.where(dead, 1.0, light)).astype(np.float32)
    return Correction(None if dark is None else np.asarray(dark, np.float32), gain)
