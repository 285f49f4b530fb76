"""How far a whole frame has moved against another of the same speckle, to a fraction of a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cade.fourier import irfft2, rfft2
from models.normalisation import blur, local_mean

FLATTEN_SIGMA_PX = 12.0
"""What varies more slowly is the beam, not the speckle."""
BLUR_SIGMA_PX = 1.0
"""Of both frames: noise, and pixels of different gain, are finer than speckle."""
SIGNIFICANT = 8.0
"""Height of a correlation peak, in standard deviations of the map, that is no accident."""
LEAST_CORRELATION = 0.1
"""Less than that is what pixels of different gain leave in all frames of a detector."""
_NEWTON_STEPS = 6
_LONGEST_STEP_PX = 0.5


@dataclass(frozen=True, slots=True)
class Shift:
    """Frame(x) = reference(x − shift).

    `correlation` is the coefficient at this shift, `height` the same over the noise of the map.
    """

    x_px: float
    y_px: float
    correlation: float
    height: float

    @property
    def length_px(self) -> float:
        """How far, in any direction."""
        return math.hypot(self.x_px, self.y_px)

    @property
    def shares_speckle(self) -> bool:
        """Whether the two frames show parts of the same speckle at all."""
        return self.height > SIGNIFICANT

    def repeats(self, most_px: float) -> bool:
        """Whether the frame is the reference again, moved by `most_px` at most."""
        alike = self.shares_speckle and self.correlation > LEAST_CORRELATION
        return alike and self.length_px <= most_px


class DriftMeter:
    """Measures frames `(H, W)` against one of them; NaN pixels do not count.

    The maximum of the cross-correlation, found on the pixels and refined by Newton steps on its
    Fourier series. Noise of the two frames is independent, so it does not pull towards any shift,
    as it would a fit by gradients of a noisy frame.
    """

    def __init__(self, reference: torch.Tensor) -> None:
        self._shape = (int(reference.shape[-2]), int(reference.shape[-1]))
        flat = self._flattened(reference)
        self._spectrum, self._energy = rfft2(flat).conj(), float(flat.square().sum())
        fy = torch.fft.fftfreq(self._shape[0])[:, None]
        fx = torch.fft.rfftfreq(self._shape[1])[None, :]
        self._ky, self._kx = 2 * math.pi * fy, 2 * math.pi * fx
        twice = (fx > 0) & (fx < 0.5)  # half spectrum: those that stand for two
        self._share = 1.0 + twice.float()

    def _flattened(self, image: torch.Tensor) -> torch.Tensor:
        known = torch.isfinite(image)
        filled = torch.where(known, image, 0.0)[None]
        weight = known.float()[None]
        mean = local_mean(filled, FLATTEN_SIGMA_PX, weight)
        flat = (filled / mean.clamp(min=torch.finfo(mean.dtype).tiny) - 1) * weight
        flat = blur(flat.clamp(-2, 2), BLUR_SIGMA_PX)[0]
        rows, columns = (torch.hann_window(n, periodic=False) for n in self._shape)
        return flat * rows[:, None] * columns[None, :]

    def shift(self, frame: torch.Tensor) -> Shift:
        """The shift of a frame of the same shape."""
        flat = self._flattened(frame)
        cross = rfft2(flat) * self._spectrum
        surface = irfft2(cross, self._shape)
        row, column = divmod(int(surface.argmax()), self._shape[1])
        peak = float(surface[row, column])
        height = peak / max(float(surface.std()), 1e-12)
        energy = math.sqrt(self._energy * float(flat.square().sum()))
        start = torch.tensor(
            [_wrapped(column, self._shape[1]), _wrapped(row, self._shape[0])], dtype=torch.float64
        )
        x, y = self._refined(cross, start).tolist()
        return Shift(x, y, peak / max(energy, 1e-12), height)

    def _refined(self, cross: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        found = start.clone()
        for _ in range(_NEWTON_STEPS):
            turned = cross * torch.exp(1j * (self._kx * found[0] + self._ky * found[1]))
            odd, even = self._share * turned.imag, self._share * turned.real
            slope = -torch.stack([(self._kx * odd).sum(), (self._ky * odd).sum()]).double()
            xx, yy, xy = (
                -float((a * b * even).sum())
                for a, b in (
                    (self._kx, self._kx),
                    (self._ky, self._ky),
                    (self._kx, self._ky),
                )
            )
            bend = torch.tensor([[xx, xy], [xy, yy]], dtype=torch.float64)
            if not (xx < 0 and xx * yy > xy * xy):
                break  # no maximum here: the pixel of the peak has to do
            found = found - torch.linalg.solve(bend, slope).clamp(
                -_LONGEST_STEP_PX, _LONGEST_STEP_PX
            )
        return found if bool((found - start).abs().max() <= 1) else start


def _wrapped(index: int, length: int) -> int:
    return index if index <= length // 2 else index - length
