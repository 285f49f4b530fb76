"""A diffuser of the user's own: a measured or designed map of thickness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cade.errors import UsageError
from cade.interpolation import sample_spline, spline_coefficients
from simulator.diffuser import Slice
from simulator.materials import Material
from simulator.optics import Optics

_MARGIN = 12
"""Samples by which a periodic map is continued, for the spline's filter."""
_BLEND = 1 / 8
"""Of the frame, over which a larger map is blended into its own continuation, at most."""
_LINES = 256
"""Interpolated at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class DiffuserMap:
    """Thickness in m along the beam, `(h, w)`, on a grid of its own pitch in the diffuser plane.

    The wave field repeats with the frame. A map of the frame's very size must therefore repeat
    itself. A larger one is cut to the frame from its first sample on; what lies beyond the frame is
    blended into the beginning, over up to an eighth of the frame, so that nothing jumps. A smaller
    one is refused. Another pitch than the wave field's is interpolated by a cubic B-spline, after
    averaging whole samples where the map is finer.

    Args:
        thickness_m: not negative, without NaN.
        pitch_m: of the map's samples.
        material: what it is a thickness of.

    Raises:
        UsageError: no such map.
    """

    thickness_m: NDArray[np.floating[Any]] | torch.Tensor
    pitch_m: float
    material: str | Material

    def __post_init__(self) -> None:
        shape = tuple(self.thickness_m.shape)
        if len(shape) != 2 or min(shape) < 2:
            raise UsageError(
                f"diffuser map: it must have two dimensions of at least 2 samples, not the shape "
                f"{shape}"
            )
        values = torch.as_tensor(self.thickness_m)
        least, most = float(values.min()), float(values.max())  # NaN if there is one
        if not 0 <= least <= most <= 0.1:
            raise UsageError(
                f"diffuser map: thickness is in metres, 0 to 0.1, without NaN; this map has "
                f"{least:g} to {most:g}"
            )
        if not 0 < self.pitch_m <= 0.01:
            raise UsageError(
                f"diffuser map: pitch_m is in metres, above 0 and up to 0.01, not {self.pitch_m!r}"
            )

    def slices(
        self, optics: Optics, shape: tuple[int, int], generator: torch.Generator
    ) -> Iterator[Slice]:
        """One; nothing of it is random."""
        thickness_m = torch.as_tensor(self.thickness_m).to(generator.device, torch.float32)
        yield Slice(periodic_map(thickness_m, self.pitch_m, shape, optics.pitch_m), self.material)


def periodic_map(
    values: torch.Tensor, pitch_m: float, shape: tuple[int, int], wanted_pitch_m: float
) -> torch.Tensor:
    """A map `(h, w)`, not negative, on a periodic grid of another pitch and shape.

    Args:
        values: on a grid of `pitch_m`; sample [0, 0] stays where it is.
        pitch_m: of the map.
        shape: of the result.
        wanted_pitch_m: of the result.

    Raises:
        UsageError: the map does not cover the grid.
    """
    # Along the columns of one, then of its transpose.
    across = _lengthwise(values, pitch_m, shape[1], wanted_pitch_m)
    return _lengthwise(across.T, pitch_m, shape[0], wanted_pitch_m).T.clamp(min=0).contiguous()


def _lengthwise(
    lines: torch.Tensor, pitch_m: float, samples: int, wanted_pitch_m: float
) -> torch.Tensor:
    """Lines `(n, w)` on a periodic grid of so many samples along the second dimension."""
    count = lines.shape[1]
    have_m, want_m = count * pitch_m, samples * wanted_pitch_m
    # Half a sample of either grid: less is no border to blend.
    slack_m = max(pitch_m, wanted_pitch_m) / 2
    if have_m < want_m - slack_m:
        raise UsageError(
            f"diffuser map: {count} samples of {pitch_m * 1e6:.4g} µm do not cover the wave field "
            f"of {want_m * 1e6:.4g} µm; use a larger map or a smaller frame"
        )
    if have_m <= want_m + slack_m:
        # The same size: stretched by the small difference, if any, so that it repeats exactly.
        return _resample(lines, count / samples, samples, periodic=True)
    step = wanted_pitch_m / pitch_m
    beyond = int((count - 1) / step + 1e-9) + 1 - samples
    excess = max(0, min(beyond, round(_BLEND * samples)))
    even = _resample(lines, step, samples + excess, periodic=False)
    weight = torch.arange(1, excess + 1, device=lines.device) / (excess + 1)
    start = weight * even[:, :excess] + (1 - weight) * even[:, samples:]
    return torch.cat([start, even[:, excess:samples]], dim=1)


def _resample(lines: torch.Tensor, step: float, samples: int, *, periodic: bool) -> torch.Tensor:
    """Lines `(n, w)` at 0, step, 2·step …, `(n, samples)`."""
    if abs(step - 1) * samples < 1e-6:
        return lines[:, :samples]
    average = max(1, int(step))
    margin = _MARGIN + average if periodic else 0
    count = lines.shape[1]
    places = torch.arange(-margin, count + margin, device=lines.device) % count
    # The mean of n samples from the i-th on belongs to i + (n − 1)/2.
    first = margin - (average - 1) / 2
    x = first + step * torch.arange(samples, dtype=torch.float64, device=lines.device)
    done = []
    for row in range(0, len(lines), _LINES):
        part = lines[row : row + _LINES]
        continued = functional.avg_pool1d(part[:, places].double(), average, stride=1)[:, None]
        at = x.expand(len(part), 1, samples)
        done.append(sample_spline(spline_coefficients(continued), at, torch.zeros_like(at))[:, 0])
    return torch.cat(done).to(lines.dtype)
