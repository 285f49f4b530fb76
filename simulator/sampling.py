"""Whether the wave field is sampled finely enough for what stands in the beam."""

from __future__ import annotations

import math

import torch

from cade.errors import UsageError
from simulator.optics import Optics

SAMPLES_PER_DETAIL = 3
"""Of a correlation length (FWHM). Below, the sampling cuts off more than 2 % of its spectrum."""


def check_detail(length_m: float, optics: Optics, what: str) -> None:
    """Refuse a pitch that cannot show details of a length (FWHM of the autocorrelation).

    Raises:
        UsageError: fewer than three samples, with the oversampling that would do.
    """
    # A hair of tolerance: a length that was chosen as a multiple of the pitch must pass.
    factor = SAMPLES_PER_DETAIL * optics.pitch_m / length_m * (1 - 1e-9)
    if factor > 1:
        raise UsageError(
            f"{what} of {length_m * 1e6:.3g} µm cannot be sampled every "
            f"{optics.pitch_m * 1e6:.3g} µm; {_finer(optics, factor)}"
        )


def check_phase(phase_rad: torch.Tensor, optics: Optics, what: str, *, beyond: float = 0.0) -> None:
    """Refuse a phase object whose phase the wave field cannot hold: |step| ≥ π between samples.

    The field repeats with the frame, so the first sample is the neighbour of the last.

    Args:
        phase_rad: phase that the object adds, `(H, W)` at the optics' pitch.
        optics: whose oversampling is judged.
        what: the object, for the message.
        beyond: share of the steps that may be larger; with one, the border is not looked at.

    Raises:
        UsageError: with the oversampling that would do, or where the border is at fault.
    """
    inside = max(_largest(phase_rad.diff(dim=dim), beyond) for dim in (-2, -1))
    if inside >= math.pi:
        raise UsageError(
            f"{what}: its phase changes by {inside:.3g} rad from one sample of "
            f"{optics.pitch_m * 1e6:.3g} µm to the next, and the wave field can hold less than π; "
            f"{_finer(optics, inside / math.pi)}"
        )
    if beyond:
        return
    seams = (phase_rad[..., 0, :] - phase_rad[..., -1, :], phase_rad[..., 0] - phase_rad[..., -1])
    across = max(_largest(seam) for seam in seams)
    if across >= math.pi:
        raise UsageError(
            f"{what}: its phase jumps by {across:.3g} rad across the border of the frame, with "
            f"which the wave field repeats; make it repeat with the frame as well"
        )


def _largest(steps: torch.Tensor, beyond: float = 0.0) -> float:
    """|step| that only a share `beyond` of all exceeds; zero where there is no step."""
    if not steps.numel():
        return 0.0
    lowest, highest = torch.aminmax(steps)
    largest = max(-float(lowest), float(highest))
    if not beyond or largest < math.pi:
        return largest
    size = steps.abs().flatten()
    return float(size.kthvalue(max(1, math.ceil((1 - beyond) * len(size)))).values)


def _finer(optics: Optics, factor: float) -> str:
    """What to do about samples that are `factor` too coarse."""
    wanted = 2 * (math.floor(optics.oversampling * factor / 2) + 1)
    return f"use an oversampling of at least {wanted} samples a pixel, not {optics.oversampling}"
