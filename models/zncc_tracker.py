"""Zero-normalised cross-correlation (paper eq. 2): the conventional yardstick."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional

from cade.displacement import Displacement
from cade.errors import UsageError
from models.correlation_peak import gaussian_peak, quadratic_peak
from models.integer_search import check_search, search
from models.last_reference import LastReference
from models.local_contrast import at_source, scales, split, window_tiles
from models.spline_match import match, spline_reference
from models.tiling import Tile
from models.tracker import Provenance, Tracker
from models.windows import WindowSums, check_window, window_taps

FITS = ("gaussian", "quadratic", "interpolated")
LEAST_PEAK = 0.3
"""Correlation of the best match below which there is no match."""
LEAST_WEIGHT = 0.5
"""Share of a window, as far as it is in the frame, whose pixels must count."""
LEAST_CONTRAST = 1e-3
"""Of either frame in a window, for a correlation."""
_TINY = 1e-12


class ZnccTracker(Tracker):
    """Window around every pixel, integer search in ±`search_px`, sub-pixel fit.

    Args:
        device: where it runs.
        window: odd side of the square window in px.
        search_px: largest integer shift that is tried; a peak there is not trusted.
        fit: `gaussian` or `quadratic` through the 3×3 correlations around the best, or
            `interpolated`: the maximum of the correlation with the interpolated reference, which
            is more accurate, takes about twice as long and has a sigma.
        subtract_bias: take off what is found for the reference against itself.
    """

    def __init__(
        self,
        device: torch.device,
        window: int = 15,
        search_px: int = 3,
        *,
        fit: str = "gaussian",
        subtract_bias: bool = True,
    ) -> None:
        check_window("zncc", window)
        check_search("zncc", search_px)
        if fit not in FITS:
            raise UsageError(f"zncc: unknown fit {fit!r}; known are {', '.join(FITS)}")
        self.device, self.window, self.search_px, self.fit = device, window, search_px, fit
        self.subtract_bias = subtract_bias
        self._taps = window_taps("box", window).to(device)
        self._bias_px: LastReference[torch.Tensor] = LastReference()
        self.provenance = Provenance(
            "zncc",
            {
                "window_px": window,
                "search_px": search_px,
                "fit": fit,
                "bias_subtracted": int(subtract_bias),
            },
            has_sigma=fit == "interpolated",
        )

    def _estimate(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        check_window("zncc", self.window, (int(sample.shape[-2]), int(sample.shape[-1])))
        # Only contrast matters; without the mean the float32 sums keep their digits.
        frames = [
            (image / scales(image[:, None])[:, 0] - 1) * weight for image in (reference, sample)
        ]
        if self.fit == "interpolated":
            found, shift = self._interpolated(frames[0], frames[1], weight)
        else:
            u, shift, valid = self._correlate(frames[0], frames[1], weight, self.search_px)
            found = Displacement(ux_px=u[:, 0], uy_px=u[:, 1], valid=valid)
        if not self.subtract_bias:
            return found
        bias = at_source(self._bias_px.get(frames[0], weight, self._against_itself), shift)
        return replace(found, ux_px=found.ux_px - bias[:, 0], uy_px=found.uy_px - bias[:, 1])

    def _interpolated(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor
    ) -> tuple[Displacement[torch.Tensor], torch.Tensor]:
        """A constant and the reference, fitted to the sample: least where they correlate best."""
        weights = weight[:, None]
        rest = [split(image[:, None] + 1, weights, self._taps)[1] for image in (reference, sample)]
        shift = search(rest[0], rest[1], self._taps, self.search_px)
        found = self._fitted(reference, sample, weight, shift.px)
        return replace(found, valid=found.valid & shift.inside), shift.px

    def _fitted(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor, px: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        """The same around whole shifts `(N, 2, H, W)`."""
        still, weights = torch.zeros_like(weight)[:, None], weight[:, None]
        ready = spline_reference(still, reference[:, None], weights, self.search_px)
        found = match(ready, sample[:, None] + 1, weights, px, self._taps)
        return replace(found, transmission=None, dark_field=None)

    def _against_itself(self, reference: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if self.fit == "interpolated":
            still = torch.zeros_like(reference[:, None], dtype=torch.long).expand(-1, 2, -1, -1)
            found = self._fitted(reference, reference, weight, still)
            u, valid = torch.stack([found.ux_px, found.uy_px], dim=1), found.valid
        else:
            u, _, valid = self._correlate(reference, reference, weight, 1)
        return torch.where(valid[:, None], u, 0.0)

    def _correlate(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor, reach: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """u, its whole part `(N, 2, H, W)` and whether there is a match, `(N, H, W)`."""
        count, height, width = sample.shape
        u = sample.new_empty((count, 2, height, width))
        shift = torch.empty_like(u, dtype=torch.long)
        valid = torch.empty_like(sample, dtype=torch.bool)
        padded = [functional.pad(image, (reach,) * 4) for image in (reference, weight)]
        for tile in window_tiles((int(height), int(width)), self._taps):
            window = WindowSums(self._taps, tile)
            scores, enough = _scores(padded[0], padded[1], sample, weight, window, tile, reach)
            part = u[..., *tile.keep], shift[..., *tile.keep]
            part[0][:], part[1][:], found = self._peak(scores, 2 * reach + 1)
            valid[..., *tile.keep] = found & enough
        return u, shift, valid

    def _peak(
        self, scores: torch.Tensor, side: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same of scores `(N, side², h, w)`."""
        best = scores.argmax(dim=1, keepdim=True)
        row, column = best // side, best % side
        inside = (row > 0) & (row < side - 1) & (column > 0) & (column < side - 1)
        peak = best.clamp(side + 1, side * side - side - 2)
        x, y, vertex = (gaussian_peak if self.fit == "gaussian" else quadratic_peak)(
            scores, peak, side
        )
        valid = inside & vertex & (scores.gather(1, best) > LEAST_PEAK)
        shift = torch.cat([column, row], dim=1) - side // 2
        return shift + torch.cat([x, y], dim=1), shift, valid[:, 0]


def _scores(
    reference: torch.Tensor,
    reference_weight: torch.Tensor,
    sample: torch.Tensor,
    weight: torch.Tensor,
    window: WindowSums,
    tile: Tile,
    reach: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlations `(N, side², h, w)` of sample(x) with reference(x − shift), and enough weight.

    Of the pixels of a window only those count that are known in both, for each shift anew.
    """
    side = 2 * reach + 1
    rows, columns = tile.read
    pixels, known = sample[..., *tile.read], weight[..., *tile.read]
    factors = torch.stack([known, pixels, pixels.square()])
    whole = window(torch.ones_like(known))
    scores = []
    for index in range(side * side):
        down, right = 2 * reach - index // side, 2 * reach - index % side
        place = (
            slice(rows.start + down, rows.stop + down),
            slice(columns.start + right, columns.stop + right),
        )
        moved, shown = reference[..., *place], reference_weight[..., *place]
        s_sums = window(shown * factors)
        r_sums = window(torch.stack([moved * known, moved.square() * known, moved * pixels]))
        scores.append(_correlation(s_sums, r_sums))
        if index == side * side // 2:
            enough = s_sums[0] > LEAST_WEIGHT * whole
    return torch.stack(scores, dim=1), enough


def _correlation(s_sums: torch.Tensor, r_sums: torch.Tensor) -> torch.Tensor:
    weight = s_sums[0].clamp(min=_TINY)
    mean_s, square_s = s_sums[1] / weight, s_sums[2] / weight
    mean_r, square_r, product = (r_sums / weight).unbind()
    floor = LEAST_CONTRAST**2
    variances = [
        (square_s - mean_s.square()).clamp(min=floor),
        (square_r - mean_r.square()).clamp(min=floor),
    ]
    return (product - mean_r * mean_s) / (variances[0] * variances[1]).sqrt()
