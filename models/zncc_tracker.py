"""Zero-normalised cross-correlation (paper eq. 2): the conventional yardstick."""

from __future__ import annotations

import torch
from torch.nn import functional

from cade.displacement import Displacement
from cade.errors import UsageError
from models.tracker import Provenance, Tracker

LEAST_PEAK = 0.3
"""Correlation of the best match below which there is no match."""
_TINY = 1e-12


class ZnccTracker(Tracker):
    """Window around every pixel, integer search in ±`search_px`, Gaussian sub-pixel fit.

    Args:
        device: where it runs.
        window: odd side of the square window in px.
        search_px: largest integer shift that is tried; a peak there is not trusted.
    """

    def __init__(self, device: torch.device, window: int = 15, search_px: int = 3) -> None:
        if window < 3 or window % 2 == 0:
            raise UsageError(f"zncc: the window must be odd and at least 3 px, not {window}")
        if search_px < 1:
            raise UsageError(f"zncc: the search range must be at least 1 px, not {search_px}")
        self.device, self.window, self.search_px = device, window, search_px
        self.provenance = Provenance("zncc", {"window_px": window, "search_px": search_px})

    def _estimate(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        if min(sample.shape[-2:]) < self.window:
            raise UsageError(f"zncc: window {self.window} is larger than the frame")
        scores = self._scores(reference, sample)
        enough = self._box(weight) > 0.5
        side = 2 * self.search_px + 1
        best = scores.argmax(dim=1, keepdim=True)
        row, column = best // side, best % side
        inside = (row > 0) & (row < side - 1) & (column > 0) & (column < side - 1)
        peak = best.clamp(side + 1, side * side - side - 2)
        ux, valid_x = _gaussian_peak(scores, peak, 1)
        uy, valid_y = _gaussian_peak(scores, peak, side)
        found = scores.gather(1, best) > LEAST_PEAK
        return Displacement(
            ux_px=(column + ux - self.search_px)[:, 0],
            uy_px=(row + uy - self.search_px)[:, 0],
            valid=(inside & valid_x & valid_y & found)[:, 0] & enough,
        )

    def _scores(self, reference: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """Correlation `(N, side², H, W)` of sample(x) with reference(x − shift)."""
        # Only contrast matters; without the mean the float32 sums keep their digits.
        reference = reference / reference.mean(dim=(-2, -1), keepdim=True).clamp(min=_TINY) - 1
        sample = sample / sample.mean(dim=(-2, -1), keepdim=True).clamp(min=_TINY) - 1
        reach = self.search_px
        height, width = sample.shape[-2:]
        mean_s, var_s = self._moments(sample)
        padded = functional.pad(reference[:, None], (reach,) * 4, mode="replicate")[:, 0]
        scores = []
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                top, left = reach - dy, reach - dx
                moved = padded[:, top : top + height, left : left + width]
                mean_r, var_r = self._moments(moved)
                covariance = self._box(moved * sample) - mean_r * mean_s
                scores.append(covariance / (var_r * var_s).clamp(min=_TINY).sqrt())
        return torch.stack(scores, dim=1)

    def _moments(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self._box(image)
        return mean, (self._box(image.square()) - mean.square()).clamp(min=0)

    def _box(self, image: torch.Tensor) -> torch.Tensor:
        """Window mean; at the border over the part of the window that is inside."""
        half = self.window // 2
        rows = functional.avg_pool2d(
            image[:, None], (self.window, 1), 1, (half, 0), count_include_pad=False
        )
        return functional.avg_pool2d(rows, (1, self.window), 1, (0, half), count_include_pad=False)[
            :, 0
        ]


def _gaussian_peak(
    scores: torch.Tensor, peak: torch.Tensor, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertex of a Gaussian through three scores around `peak`, and whether there is one."""
    before, here, after = (
        scores.gather(1, peak + k * step).clamp(min=1e-3).log() for k in (-1, 0, 1)
    )
    curvature = before - 2 * here + after
    offset = 0.5 * (before - after) / curvature.clamp(max=-_TINY)
    return offset.clamp(-1, 1), (curvature < 0) & (offset.abs() <= 1)
