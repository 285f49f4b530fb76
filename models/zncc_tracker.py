"""Zero-normalised cross-correlation (paper eq. 2): the conventional yardstick."""

from __future__ import annotations

import torch
from torch.nn import functional

from cade.displacement import Displacement
from cade.errors import UsageError
from models.correlation_peak import gaussian_peak
from models.tiling import tiles
from models.tracker import Provenance, Tracker

LEAST_PEAK = 0.3
"""Correlation of the best match below which there is no match."""
TILE_PX = 1 << 19
"""Most pixels that are searched at once: every one takes some 700 bytes."""
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
        shape = (int(sample.shape[-2]), int(sample.shape[-1]))
        if min(shape) < self.window:
            raise UsageError(
                f"zncc: window {self.window} is larger than the frame, {shape[0]} x {shape[1]} px"
            )
        # Only contrast matters; without the mean the float32 sums keep their digits.
        reference, sample = (
            image / image.mean(dim=(-2, -1), keepdim=True).clamp(min=_TINY) - 1
            for image in (reference, sample)
        )
        u = sample.new_empty((2, *shape))
        valid = sample.new_empty(shape, dtype=torch.bool)
        for tile in tiles(shape, TILE_PX, self.window // 2 + self.search_px, 1):
            pieces = (image[:, *tile.read] for image in (reference, sample, weight))
            ux, uy, found = self._search(*pieces)
            u[0, *tile.keep], u[1, *tile.keep] = ux[tile.inner], uy[tile.inner]
            valid[tile.keep] = found[tile.inner]
        return Displacement(ux_px=u[:1], uy_px=u[1:], valid=valid[None])

    def _search(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """ux, uy and whether there is a match, `(H, W)`, of a tile `(1, H, W)`."""
        scores = self._scores(reference, sample)
        side = 2 * self.search_px + 1
        best = scores.argmax(dim=1, keepdim=True)
        row, column = best // side, best % side
        inside = (row > 0) & (row < side - 1) & (column > 0) & (column < side - 1)
        peak = best.clamp(side + 1, side * side - side - 2)
        ux, uy, vertex = gaussian_peak(scores, peak, side)
        valid = inside & vertex & (scores.gather(1, best) > LEAST_PEAK)
        enough = self._box(weight) > 0.5
        return (
            (column + ux - self.search_px)[0, 0],
            (row + uy - self.search_px)[0, 0],
            valid[0, 0] & enough[0],
        )

    def _scores(self, reference: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """Correlation `(1, side², H, W)` of sample(x) with reference(x − shift)."""
        reach = self.search_px
        height, width = sample.shape[-2:]
        mean_s, var_s = self._moments(sample)
        padded = functional.pad(reference[:, None], (reach,) * 4, mode="replicate")[:, 0]
        side = 2 * reach + 1
        scores = sample.new_empty((1, side * side, height, width))
        for index in range(side * side):
            top, left = 2 * reach - index // side, 2 * reach - index % side
            moved = padded[:, top : top + height, left : left + width]
            mean_r, var_r = self._moments(moved)
            covariance = self._box(moved * sample) - mean_r * mean_s
            scores[:, index] = covariance / (var_r * var_s).clamp(min=_TINY).sqrt()
        return scores

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
