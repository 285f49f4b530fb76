"""How far the whole pattern has moved since the reference, measured on the sample itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cade.fourier import irfft2, rfft2
from cade.frames import Image
from daemon.correction.correction import Correction
from models.normalisation import normalise

SIDE = 1024
"""At most the middle SIDE × SIDE pixels are compared: enough for 0.01 px."""
LEAST_CLEAR = 8.0
"""A maximum this many times the correlation's standard deviation is no chance."""
STEP_PX = 0.1
"""Pitch of the finely sampled correlation around its maximum."""

_HOST = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Drift:
    """Movement `x_px` right and `y_px` down of the pattern that the reference shows.

    `clear` is False where sample and reference have nothing in common that could tell: another
    pattern, or noise.
    """

    x_px: float
    y_px: float
    clear: bool

    @property
    def length_px(self) -> float:
        """In any direction."""
        return math.hypot(self.x_px, self.y_px)


def measure_drift(reference: Image, sample: Image, correction: Correction) -> Drift:
    """The movement that most of the image shares, within a quarter of it, in its own pixels.

    The maximum of the circular cross-correlation of both frames `(H, W)`, whose saturated pixels
    are NaN already, which are corrected and
    have their local means divided out: neither the sample's absorption nor fixed structures of
    beam and detector pin it to zero. Refraction pulls at it: a sample that covers a sixth of the
    frame and refracts by a pixel more, by about 0.15 px; what covers most of the frame alike cannot
    be told from drift.
    """
    pair = torch.stack([correction.reference(image, _HOST) for image in (reference, sample)])
    pair = pair[:, _middle(pair.shape[-2]), _middle(pair.shape[-1])]
    weight = torch.isfinite(pair).all(dim=0, keepdim=True).float()
    pair = torch.where(weight > 0, pair, torch.zeros(()))
    frames = normalise(pair[:1], pair[1:], weight)
    cross = rfft2(frames.sample[0]) * rfft2(frames.reference[0]).conj()
    shape = (int(pair.shape[-2]), int(pair.shape[-1]))
    plane = irfft2(cross, shape)
    y, x = _maximum(plane)
    clear = bool(plane[y % shape[0], x % shape[1]] > LEAST_CLEAR * plane.std())
    fine_x, fine_y = _between_pixels(cross, shape, x, y)
    return Drift(fine_x, fine_y, clear)


def _middle(length: int) -> slice:
    start = max(0, (length - SIDE) // 2)
    return slice(start, start + SIDE)


def _maximum(plane: torch.Tensor) -> tuple[int, int]:
    """Row and column of the largest value, negative beyond the middle, up to a quarter away."""
    height, width = plane.shape
    rows, columns = (torch.fft.fftfreq(n, 1 / n).abs() <= n / 4 for n in (height, width))
    inside = plane.masked_fill(~(rows[:, None] & columns), -math.inf)
    row, column = divmod(int(inside.argmax()), width)
    return (row + height // 2) % height - height // 2, (column + width // 2) % width - width // 2


def _between_pixels(
    cross: torch.Tensor, shape: tuple[int, int], x: int, y: int
) -> tuple[float, float]:
    """The maximum between the pixels around `(x, y)`.

    The spectrum is transformed to a fine grid there (Guizar-Sicairos, Opt. Lett. 33 (2008) 156);
    a parabola in each direction does the rest.
    """
    steps = torch.arange(-10, 11, dtype=torch.float64) * STEP_PX
    fy = torch.fft.fftfreq(shape[0], dtype=torch.float64)
    fx = torch.fft.rfftfreq(shape[1], dtype=torch.float64)
    both = torch.where((fx > 0) & (fx < 0.5), 2.0, 1.0)  # the half that is left out is conjugate
    along_y = torch.exp(2j * math.pi * (y + steps)[:, None] * fy)
    along_x = torch.exp(2j * math.pi * fx[:, None] * (x + steps)) * both[:, None]
    fine = (along_y @ cross.to(torch.complex128) @ along_x).real
    row, column = divmod(int(fine.argmax()), len(steps))
    return (
        x + float(steps[column]) + STEP_PX * _vertex(fine[row], column),
        y + float(steps[row]) + STEP_PX * _vertex(fine[:, column], row),
    )


def _vertex(line: torch.Tensor, place: int) -> float:
    """Where the parabola through a maximum and its neighbours has its own, from -0.5 to 0.5."""
    if not 0 < place < len(line) - 1:
        return 0.0
    left, middle, right = (float(line[place + step]) for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0
