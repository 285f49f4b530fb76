"""Emulated scans: reference and sample frames in counts, with truth that needs no storing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cade.frames import Role
from cade.interpolation import spline_coefficients
from simulator.detector import detector_intensity, expose
from simulator.diffuser import Sandpaper, diffuser_field
from simulator.optics import Optics
from simulator.pattern import at_pixels
from simulator.phantom import Phantom, random_hills, sine_phantom
from simulator.projection import Truth, displaced_frame, propagated_frame, truth
from simulator.seeds import seeded_generator

Counts = NDArray[np.uint16]

DEMO_SHAPE = (512, 512)
DEMO_PAPER = Sandpaper(grain_m=25e-6, height=0.65)
"""Speckles of 3.3 px at a visibility of 36 %."""
DEMO_COUNTS = 2000.0
"""Mean counts per pixel N0 of a reference: 2.2 % noise."""
DEMO_REFERENCES = 4
DEMO_STEP_PX = (3.7, 1.9)
"""What the phantom moves from one frame to the next, x and y."""
PROPAGATE_EVERY = 8

_BORDER = 16
"""Samples by which the reference is continued, for displacements of up to a few pixels."""
_DIFFUSER, _PHANTOM, _REFERENCE, _SAMPLE = range(4)
"""What random numbers are drawn for."""


class Scan:
    """References and samples of one diffuser; every frame depends on the arguments alone.

    Truth costs nothing but itself: the diffuser is made when the first frame is asked for, which
    takes some six seconds of one core for 512².

    Args:
        phantom_at: the sample of every frame index.
        shape: `(H, W)` of the frames.
        seed: of diffuser and noise.
        optics: the arrangement.
        paper: the diffuser.
        counts: N0, mean counts per pixel of a reference.
        propagate_every: sample frames 0, n, 2n … are made by wave propagation through the phantom,
            the others by displacing the reference.
    """

    def __init__(
        self,
        phantom_at: Callable[[int], Phantom],
        shape: tuple[int, int],
        seed: int,
        *,
        optics: Optics | None = None,
        paper: Sandpaper = DEMO_PAPER,
        counts: float = DEMO_COUNTS,
        propagate_every: int = PROPAGATE_EVERY,
    ) -> None:
        self.optics = optics or Optics()
        self.shape = shape
        self._phantom_at = phantom_at
        self._seed = seed
        self._paper = paper
        self._counts = counts
        self._propagate_every = propagate_every

    def truth(self, index: int) -> Truth:
        """Phase and displacement of sample frame `index`."""
        return truth(self._phantom_at(index), self.optics, self.shape)

    def propagated(self, index: int) -> bool:
        """Whether sample frame `index` is made by wave propagation."""
        return index % self._propagate_every == 0

    def references(self, count: int = DEMO_REFERENCES) -> Iterator[Counts]:
        """Frames `(H, W)` without the sample, each with its own noise."""
        inside = slice(_BORDER, -_BORDER)
        intensity = at_pixels(self._reference[inside, inside])
        return (self._expose(intensity, _REFERENCE, index) for index in range(count))

    def sample(self, index: int) -> Counts:
        """Sample frame `index`, `(H, W)`."""
        phantom = self._phantom_at(index)
        if self.propagated(index):
            intensity = propagated_frame(self._field, phantom, self.optics) / self._mean
        else:
            intensity = displaced_frame(self._coefficients, _BORDER, phantom, self.optics)
        return self._expose(intensity, _SAMPLE, index)

    def _expose(self, intensity: torch.Tensor, purpose: int, index: int) -> Counts:
        counts = expose(intensity, self._counts, seeded_generator(self._seed, purpose, index))
        return counts.clamp(max=np.iinfo(np.uint16).max).numpy().astype(np.uint16)

    @cached_property
    def _field(self) -> torch.Tensor:
        """The wave field behind the diffuser."""
        height, width = (n * self.optics.oversampling for n in self.shape)
        generator = seeded_generator(self._seed, _DIFFUSER)
        return diffuser_field(self._paper, self.optics, (height, width), generator)

    @cached_property
    def _reference(self) -> torch.Tensor:
        """Noise-free intensity of mean one, two samples a pixel, continued by `_BORDER`."""
        intensity = detector_intensity(self._field, self.optics)
        return functional.pad(intensity[None] / self._mean, (_BORDER,) * 4, mode="circular")[0]

    @cached_property
    def _mean(self) -> float:
        """Of the reference's intensity: what the diffuser lets through."""
        return float(self._field.abs().square().mean())

    @cached_property
    def _coefficients(self) -> torch.Tensor:
        return spline_coefficients(self._reference[None])[0]


def demo_scan(shape: tuple[int, int] = DEMO_SHAPE, seed: int = 0) -> Scan:
    """The scan of `cade demo`: alumina hills that slide through the beam, |u| up to 0.9 px."""
    optics = Optics()
    hills = random_hills(optics, shape, seeded_generator(seed, _PHANTOM))
    step_x_m, step_y_m = (step * optics.geometry.sample_pixel_m for step in DEMO_STEP_PX)
    return Scan(lambda index: hills.moved(index * step_x_m, index * step_y_m), shape, seed)


def sine_scan(shape: tuple[int, int] = DEMO_SHAPE, seed: int = 0) -> Scan:
    """The paper's sine phantom at rest; every frame is made by wave propagation.

    Raises:
        UsageError: the frame is narrower than the phantom.
    """
    optics = Optics()
    sine = sine_phantom(optics, shape)
    return Scan(lambda _: sine, shape, seed, optics=optics, propagate_every=1)


def demo_frames(
    frames: int, shape: tuple[int, int] = DEMO_SHAPE, seed: int = 0
) -> Iterator[tuple[Role, Counts]]:
    """What the emulated detector of `cade demo` sends: references, then `frames` samples."""
    scan = demo_scan(shape, seed)
    for image in scan.references():
        yield Role.REFERENCE, image
    for index in range(frames):
        yield Role.SAMPLE, scan.sample(index)
