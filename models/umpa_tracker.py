"""UMPA: the windows of the sample fitted by the moved, absorbed and scattered reference.

Paper eq. 3 with transmission T and dark field D (Zdora et al., Phys. Rev. Lett. 118, 203903, 2017;
De Marco et al., Opt. Express 31, 635, 2023): Σ w (s − T·(m + D·v))² over a window, with m(x − u)
the mean of the reference and v(x − u) its speckle. T and D are solved for at every u, and the cost
is minimised over u as a function of the *interpolated reference*, not by a parabola through its
values at whole shifts. Transmission and dark field are those of the fit. The mean is that of the
beam, over many speckles: were it that of the window, as in De Marco's program, the part of the
speckle that the mean follows would not count (0.55 is then found for a dark field of 0.6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cade.displacement import Displacement
from models.integer_search import check_search, search
from models.last_reference import LastReference
from models.local_contrast import at_source, scales, split
from models.normalisation import MEAN_SIGMA_PX, local_mean
from models.spline_match import SplineReference, match, spline_reference
from models.tracker import Provenance, Tracker
from models.windows import check_window, window_taps

BATCH_PX = 1 << 22
"""Pixels that a GPU tracks together."""


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """Of references `(N, P, H, W)`: contrast, splines, and what is found for them against them."""

    rest: torch.Tensor
    splines: SplineReference
    bias_px: torch.Tensor | None


class UmpaTracker(Tracker):
    """One pair, or the stacks of several diffuser positions, of which T, D and u are the same.

    Args:
        device: where it runs.
        window: odd side of the window in px.
        search_px: largest integer shift that is tried; a minimum there is not trusted.
        kind: of the window: `hann`, or `box`, with less noise and less resolution.
        subtract_bias: take off what is found for the reference against itself.
    """

    least_positions = 1

    def __init__(
        self,
        device: torch.device,
        window: int = 15,
        search_px: int = 3,
        *,
        kind: str = "hann",
        subtract_bias: bool = True,
    ) -> None:
        check_window("umpa", window)
        check_search("umpa", search_px)
        self.device, self.window, self.search_px = device, window, search_px
        self.subtract_bias = subtract_bias
        self._taps = window_taps(kind, window).to(device)
        self._last: LastReference[_Reference] = LastReference()
        self.provenance = Provenance(
            "umpa",
            {
                "window_px": window,
                "window": kind,
                "search_px": search_px,
                "bias_subtracted": int(subtract_bias),
            },
            has_sigma=True,
        )

    def _frames_at_once(self, shape: tuple[int, int]) -> int:
        return 1 if self.device.type == "cpu" else max(1, BATCH_PX // (shape[0] * shape[1]))

    def _estimate(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        return self._match(reference[:, None], sample[:, None], weight[:, None])

    def _estimate_positions(
        self, references: torch.Tensor, samples: torch.Tensor, weight: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        return self._match(references[None], samples[None], weight[None])

    def _match(
        self, references: torch.Tensor, samples: torch.Tensor, weight: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        """Frames `(N, P, H, W)` of N pairs at P positions: fields `(N, H, W)`."""
        check_window("umpa", self.window, (int(samples.shape[-2]), int(samples.shape[-1])))
        known = self._last.get(references, weight, self._prepared)
        _, rest = split(samples / scales(samples), weight, self._taps)
        shift = search(known.rest, rest, self._taps, self.search_px)
        scaled = samples / scales(references)
        found = match(known.splines, scaled, weight, shift.px, self._taps)
        found = replace(found, valid=found.valid & shift.inside)
        if known.bias_px is None:
            return found
        bias = at_source(known.bias_px, shift.px)
        return replace(found, ux_px=found.ux_px - bias[:, 0], uy_px=found.uy_px - bias[:, 1])

    def _prepared(self, references: torch.Tensor, weight: torch.Tensor) -> _Reference:
        scaled = references / scales(references)
        _, rest = split(scaled, weight, self._taps)
        beam = local_mean(scaled.flatten(0, 1), MEAN_SIGMA_PX, weight.flatten(0, 1))
        beam = beam.reshape(scaled.shape)
        speckle = (scaled - beam) * weight
        splines = spline_reference(beam - 1, speckle, weight, self.search_px)
        if not self.subtract_bias:
            return _Reference(rest, splines, None)
        still = torch.zeros_like(weight[:, :1], dtype=torch.long).expand(-1, 2, -1, -1)
        found = match(splines, scaled, weight, still, self._taps)
        bias = torch.stack([found.ux_px, found.uy_px], dim=1)
        return _Reference(rest, splines, torch.where(found.valid[:, None], bias, 0.0))
