"""Test pairs from patterns that no recipe trains on."""

from __future__ import annotations

import torch

from cade.interpolation import spline_coefficients
from simulator.deformation import DeformationSettings
from simulator.detector import HALF_PIXELS, expose
from simulator.pairs import PairSettings, displaced_intensity
from simulator.pattern import at_pixels, reference_patterns

UNSEEN_SEED = 77
"""Seed of the test patterns; recipes must use another one."""
PATTERN_PX = 256
RANDOM_MAPS = DeformationSettings(wide=0.0, constant=0.0, identity=0.0)
_MARGIN = 12
"""Samples beyond a displaced position that the spline's filter reads."""


def unseen_patterns(count: int, side_px: int = PATTERN_PX) -> torch.Tensor:
    """Test patterns `(count, 2·side, 2·side)` at two samples a pixel."""
    return reference_patterns(count, (side_px, side_px), UNSEEN_SEED)


def random_maps(counts: float, transmission: float, focusing: float = 0.0) -> PairSettings:
    """Random maps at one N0 and one uniform T, patterns at their own visibility."""
    return PairSettings(
        visibility=None,
        counts=(counts, counts),
        transmission=(transmission, transmission),
        focusing=focusing,
        flat=1.0,
        deformation=RANDOM_MAPS,
    )


def shifted_pair(
    pattern: torch.Tensor,
    shift_px: tuple[float, float],
    counts: float,
    transmission: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference and sample `(H, W)` of a pattern `(2H, 2W)`, displaced as a whole by (x, y) px.

    The pattern is periodic: what leaves the frame on one side enters on the other.
    """
    border = _MARGIN + HALF_PIXELS * int(max(abs(s) for s in shift_px) + 1)
    padded = torch.nn.functional.pad(pattern[None, None], (border,) * 4, mode="circular")
    still = at_pixels(pattern)
    u = torch.tensor(shift_px)[None, :, None, None].expand(1, 2, *still.shape)
    moved = displaced_intensity(spline_coefficients(padded[0]), u, border)
    reference = expose(still, counts, generator)
    return reference, expose(transmission * moved[0], counts, generator)
