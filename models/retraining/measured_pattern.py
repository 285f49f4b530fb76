"""From an averaged reference to a pattern that pairs can be made from.

The average is sampled once a pixel; pairs are made from two samples a pixel. In between the pattern
is continued by its Fourier series, so nothing above half a cycle a pixel comes back that the pixels
did not see, and what lay above it is folded down and moves wrongly with the displacement. Speckles
of 2.5 px FWHM and more have nothing there. Of finer ones the network learns a little less than it
would from simulated patterns, which are known at two samples a pixel: that is one reason to mix
both. What the average still holds of the frames' noise would move with the speckle as well; a
Wiener filter takes out what the spectrum owes to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cade.errors import CadeError
from cade.fourier import irfft2, rfft2
from models.normalisation import blur, local_mean
from models.retraining.noise import NoiseLevel
from models.retraining.recordings import AveragedRecording
from simulator.pattern import Speckle, measure_speckle

LEAST_VISIBILITY = 0.02
"""After the noise is taken out: below, there is no speckle to train on."""
LEAST_FWHM_PX = 1.6
"""Structure finer than the detector can show is noise, or pixels of different gain."""
MOST_DEAD = 0.2
"""Share of dead pixels with which a reference is refused."""
LEAST_LIGHT = 0.1
"""Local mean, over that of the brightest part, below which the beam has ended."""
PROFILE_SIGMA_PX = 24.0
_REPAIR_SIGMA_PX = 1.0
_RINGS = 96


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredPattern:
    """A pattern of local mean one.

    `samples` `(2H, 2W)` float32 at two samples a pixel; `good` `(H, W)`: measured, in the beam;
    `speckle` at the pixels, without noise.
    """

    name: str
    samples: torch.Tensor
    good: torch.Tensor
    speckle: Speckle


def measured_pattern(average: AveragedRecording, noise: NoiseLevel) -> MeasuredPattern:
    """The pattern of an averaged recording.

    Args:
        average: mean of the frames, corrected by dark and flat; what is left of the beam's profile
            is divided out as a local mean.
        noise: of one frame.

    Raises:
        CadeError: too many dead pixels, no light, or no usable speckle.
    """
    mean = average.mean
    known = torch.isfinite(mean)
    dead = 1 - float(known.float().mean())
    if dead > MOST_DEAD:
        raise CadeError(
            f"{average.name}: {dead:.0%} of the pixels are dead or NaN, above {MOST_DEAD:.0%}; "
            f"leave it out or mend the flat"
        )
    relative, good = _flattened(mean, known, average.name)
    relative = denoised(relative, noise.relative_variance / average.frame_count)
    speckle = _usable_speckle(relative, good, average.name)
    return MeasuredPattern(average.name, upsampled(relative).clamp(min=0), good, speckle)


def _flattened(
    mean: torch.Tensor, known: torch.Tensor, name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pattern over its local mean, one where there is nothing, and where it is good."""
    weight = known.float()
    filled = torch.where(known, mean, 0.0)
    light = local_mean(filled[None], PROFILE_SIGMA_PX, weight[None])[0]
    some = light[known][:: max(1, light.numel() // 1_000_000)]
    brightest = float(some.quantile(0.95))
    if not brightest > 0:
        raise CadeError(f"{name}: there is no light above the dark; leave it out")
    lit = light > LEAST_LIGHT * brightest
    near = blur(weight[None], _REPAIR_SIGMA_PX)[0]
    repaired = blur(filled[None], _REPAIR_SIGMA_PX)[0] / near.clamp(min=1e-6)
    whole = torch.where(known, mean, torch.where(near > 0.1, repaired, light))
    relative = torch.where(lit, whole / light.clamp(min=LEAST_LIGHT * brightest), 1.0)
    return relative, known & lit


def _usable_speckle(relative: torch.Tensor, good: torch.Tensor, name: str) -> Speckle:
    rows, columns = (torch.nonzero(good.any(dim=d))[:, 0] for d in (1, 0))
    inside = relative[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    size = measure_speckle(inside).fwhm_px
    visibility = float(relative[good].std())
    if visibility < LEAST_VISIBILITY:
        raise CadeError(
            f"{name}: visibility is {visibility:.1%} without the noise, below "
            f"{LEAST_VISIBILITY:.0%}: no usable speckle; leave it out"
        )
    if size < LEAST_FWHM_PX:
        raise CadeError(
            f"{name}: its structure is {size:.1f} px wide, below {LEAST_FWHM_PX} px: noise or "
            f"pixels of different gain, no usable speckle; average more frames, give --flat"
        )
    return Speckle(size, visibility)


def denoised(image: torch.Tensor, variance: float) -> torch.Tensor:
    """The Wiener filter for white noise of a variance, over an image `(H, W)` of mean one.

    The image is continued by its mirror image, so that its borders do not leak into the spectrum.
    """
    height, width = (int(n) for n in image.shape)
    both = torch.cat([image - 1, (image - 1).flip(0)])
    spectrum = rfft2(torch.cat([both, both.flip(1)], dim=1))
    fy = torch.fft.fftfreq(2 * height)[:, None]
    fx = torch.fft.rfftfreq(2 * width)[None, :]
    ring = (torch.hypot(fy, fx) * (_RINGS / 0.75)).long().clamp(max=_RINGS - 1).flatten()
    power = spectrum.abs().square().flatten()
    total = torch.zeros(_RINGS).index_add_(0, ring, power)
    count = torch.zeros(_RINGS).index_add_(0, ring, torch.ones_like(power))
    floor = variance * 4 * height * width
    share = (1 - floor / (total / count.clamp(min=1)).clamp(min=1e-30)).clamp(min=0)
    filtered = spectrum * share[ring].reshape(spectrum.shape)
    return 1 + irfft2(filtered, (2 * height, 2 * width))[:height, :width]


def upsampled(image: torch.Tensor) -> torch.Tensor:
    """Two samples a pixel `(2H, 2W)`: sample `[2i, 2j]` is pixel `[i, j]`.

    The Fourier series of the image and its mirror image, in between the pixels.
    """
    return _doubled(_doubled(image, 1), 0)


def _doubled(image: torch.Tensor, dim: int) -> torch.Tensor:
    length = int(image.shape[dim])
    spectrum = torch.fft.rfft(torch.cat([image, image.flip(dim)], dim=dim), dim=dim)
    fine: torch.Tensor = torch.fft.irfft(spectrum, n=4 * length, dim=dim) * 2
    return fine.narrow(dim, 0, 2 * length)
