"""The noise of a beamline's frames: from repeats of one pattern, or from the spectrum of one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from cade.fourier import rfft2
from models.normalisation import local_mean

SLOW_SIGMA_PX = 12.0
"""Changes of the beam between repeats vary more slowly than this, noise does not."""
CORNER = 0.4
"""Cycles a pixel, in x and in y, beyond which one frame is taken to hold noise only."""
_BINS = 24
_OUTLIER = 6.0
"""In robust standard deviations: cosmic rays and flickering pixels."""
_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class NoiseLevel:
    """`counts` is N0: that of Poisson noise which is as strong, relative to the mean signal.

    `gain` (numbers a photon) and `read` (standard deviation without light, in the file's numbers)
    are NaN where repeats do not determine them. `origin` says where it comes from.
    """

    counts: float
    gain: float
    read: float
    origin: str

    @property
    def relative_variance(self) -> float:
        """Of one pixel of one frame, over the square of the mean signal."""
        return 1 / self.counts


class _Brightness:
    """Sorts the pixels of a mean image `(H, W)` by brightness into groups of equal size."""

    def __init__(self, mean: torch.Tensor) -> None:
        self.known = torch.isfinite(mean)
        self.values = mean[self.known].double()
        some = self.values[:: max(1, len(self.values) // 1_000_000)]  # quantile() takes 16 million
        edges = torch.quantile(some, torch.linspace(0, 1, _BINS + 1, dtype=torch.float64)[1:-1])
        self._bin = torch.bucketize(self.values, edges)

    def sums(self, values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Sum of the chosen values of the known pixels in each group."""
        zeros = torch.zeros(_BINS, dtype=torch.float64)
        return zeros.index_add_(0, self._bin[chosen], values[chosen].double())

    def level(self, squares: torch.Tensor, taken: torch.Tensor, origin: str) -> NoiseLevel:
        """The noise, from the sum and number of squared deviations in each group."""
        everything = torch.ones_like(self.values, dtype=torch.bool)
        used = taken > 0
        sizes = self.sums(torch.ones_like(self.values), everything)[used]
        signal = self.sums(self.values, everything)[used] / sizes
        gain, read_variance = _line(signal, squares[used] / taken[used], taken[used])
        mean = float(self.values.mean())
        total = max(gain * mean + read_variance, 1e-12 * mean**2)
        return NoiseLevel(mean**2 / total, gain, math.sqrt(read_variance), origin)


class RepeatNoise:
    """Collects residuals of repeated frames against their mean, by the mean's brightness.

    With n frames in the mean, a residual has (1 − 1/n) of the variance of a frame.
    """

    def __init__(self, mean: torch.Tensor, frame_count: int) -> None:
        self._brightness = _Brightness(mean)
        self._frame_count = frame_count
        self._squares = torch.zeros(_BINS, dtype=torch.float64)
        self._taken = torch.zeros(_BINS, dtype=torch.float64)

    def add(self, frame: torch.Tensor, expected: torch.Tensor) -> None:
        """A frame `(H, W)` and what the mean says it should be."""
        known = self._brightness.known
        good = known & torch.isfinite(frame)
        residual = torch.where(good, frame - expected, 0.0)
        good &= residual.abs() <= _OUTLIER * _MAD * residual[good].abs().median()
        weight = good.float()[None]
        slow = local_mean(residual[None], SLOW_SIGMA_PX, weight)[0]
        values, good = (residual - slow)[known].double(), good[known]
        self._squares += self._brightness.sums(values.square(), good)
        self._taken += self._brightness.sums(torch.ones_like(values), good)

    def level(self) -> NoiseLevel:
        """What all residuals together say."""
        squares = self._squares / (1 - 1 / self._frame_count)
        return self._brightness.level(squares, self._taken, f"{self._frame_count} repeated frames")


def noise_of_variance(mean: torch.Tensor, variance: torch.Tensor, frame_count: int) -> NoiseLevel:
    """The noise of a frame from mean and variance `(H, W)` that were stored of several.

    What the beam and the speckle did between the frames is in it, and makes it too high.
    """
    brightness = _Brightness(torch.where(torch.isfinite(variance), mean, torch.nan))
    values = variance[brightness.known].double()
    good = values <= _OUTLIER * values.mean()
    return brightness.level(
        brightness.sums(values, good),
        brightness.sums(torch.ones_like(values), good),
        f"the stored variance of {frame_count} frames",
    )


def _line(signal: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> tuple[float, float]:
    """Noise variance = gain · signal + read², neither negative, by weighted least squares."""
    weight = count / variance.clamp(min=1e-12 * float(signal.abs().max()) ** 2).square()
    total = weight.sum()
    x, y = (weight * signal).sum() / total, (weight * variance).sum() / total
    spread = (weight * (signal - x).square()).sum()
    gain = float((weight * (signal - x) * (variance - y)).sum() / spread) if spread > 0 else 0.0
    read_variance = float(y) - gain * float(x)
    if gain < 0:
        return 0.0, float(y)
    if read_variance < 0:
        return float((weight * signal * variance).sum() / (weight * signal.square()).sum()), 0.0
    return gain, read_variance


def noise_of_spectrum(frame: torch.Tensor) -> NoiseLevel:
    """The noise of one frame `(H, W)`, from what it holds at the highest frequencies.

    It takes noise for white, and speckle for too coarse to reach the corners of the spectrum.
    Speckle of less than 2 px FWHM does, and then the level is too high; a detector that blurs its
    own noise makes it too low. Repeated frames are better.
    """
    known = torch.isfinite(frame)
    filled, weight = torch.where(known, frame, 0.0)[None], known.float()[None]
    mean = local_mean(filled, SLOW_SIGMA_PX, weight)
    relative = ((filled / mean.clamp(min=torch.finfo(mean.dtype).tiny) - 1) * weight)[0]
    height, width = (int(n) for n in relative.shape)
    window = (
        torch.hann_window(height, periodic=False)[:, None]
        * torch.hann_window(width, periodic=False)[None, :]
    )
    power = rfft2(relative * window).abs().square() / window.square().sum()
    fy, fx = torch.fft.fftfreq(height).abs()[:, None], torch.fft.rfftfreq(width)[None, :]
    # |F|² is exponentially distributed: its median is ln 2 of the mean, and no streak moves it.
    variance = float(power[(fy > CORNER) & (fx > CORNER)].median()) / math.log(2)
    counts = 1 / max(variance, 1e-12)
    return NoiseLevel(counts, math.nan, math.nan, "the spectrum of one frame")


def stated_noise(counts: float) -> NoiseLevel:
    """A level that the user gives."""
    return NoiseLevel(counts, math.nan, math.nan, "as stated")


def typical_counts(levels: Iterable[NoiseLevel]) -> float:
    """The geometric middle of several levels."""
    values = torch.tensor([level.counts for level in levels], dtype=torch.float64)
    return float(values.log().median().exp())
