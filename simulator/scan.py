"""Emulated scans: frames in all roles as a detector writes them, with truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache

import torch
from torch.nn import functional

from cade.errors import UsageError
from cade.frames import Role
from cade.interpolation import spline_coefficients
from simulator.composite import Sample, microstructure_of
from simulator.dark_field import scattered
from simulator.detector import Counts, Detector, detector_intensity, record
from simulator.diffuser import Sandpaper, diffuser_field
from simulator.hill_phantom import random_hills
from simulator.optics import Optics
from simulator.pattern import Speckle, at_pixels, measure_speckle
from simulator.projection import (
    Truth,
    check_displacement,
    check_sample,
    displaced_frame,
    displacement_px,
    pattern_grid,
    propagated_frame,
    truth,
)
from simulator.seeds import Purpose, seeded_generator
from simulator.sine_phantom import sine_phantom
from simulator.wave_field import check_sampling

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


class Scan:
    """References and samples of one diffuser; every frame depends on the arguments alone.

    Truth costs nothing but itself, unless the sample scatters: the diffuser is made when the first
    frame is asked for, which takes some six seconds of one core for 512².

    Args:
        sample_at: the sample of every frame index.
        shape: `(H, W)` of the frames.
        seed: of diffuser and noise.
        optics: the arrangement.
        paper: the diffuser.
        counts: N0, mean counts (photons) per pixel of a reference.
        propagate_every: sample frames 0, n, 2n … are made by wave propagation through the sample,
            the others by displacing the reference.
        detector: what records the frames.
    """

    def __init__(
        self,
        sample_at: Callable[[int], Sample],
        shape: tuple[int, int],
        seed: int,
        *,
        optics: Optics | None = None,
        paper: Sandpaper = DEMO_PAPER,
        counts: float = DEMO_COUNTS,
        propagate_every: int = PROPAGATE_EVERY,
        detector: Detector | None = None,
    ) -> None:
        self.optics = optics or Optics()
        self.shape = shape
        self._sample_at = sample_at
        self._seed = seed
        self._paper = paper
        self._counts = counts
        self._propagate_every = propagate_every
        self._detector = detector or Detector()
        # A sample at rest is worked out once.
        self._truth_of = lru_cache(maxsize=1)(self._make_truth)
        self._intensity_of = lru_cache(maxsize=1)(self._make_intensity)

    def check(self) -> None:
        """Refuse what cannot be simulated, before the diffuser is made.

        Raises:
            UsageError: the beam has a spectrum, the sampling cannot hold free space or the sample,
                a sample with edges is not always propagated, or the detector would show nothing.
        """
        if self.optics.spectrum is not None:
            raise UsageError("scan: samples are simulated at one energy; leave out the spectrum")
        self._detector.check_exposure(self._counts, self.shape)
        wavelength_m = self.optics.geometry.wavelength_m
        distance_m = self.optics.effective_distance_m
        check_sampling(self._field_shape, self.optics.pitch_m, distance_m, wavelength_m)
        sample = self._sample_at(0)
        check_sample(sample, self.optics, self.shape)
        if self._propagate_every > 1:
            check_displacement(displacement_px(sample, self.optics, self.shape), _BORDER)

    def truth(self, index: int) -> Truth:
        """What is to be found in sample frame `index`."""
        return self._truth_of(self._sample_at(index))

    def propagated(self, index: int) -> bool:
        """Whether sample frame `index` is made by wave propagation."""
        return index % self._propagate_every == 0

    def speckle(self) -> Speckle:
        """Size and visibility of the noise-free reference."""
        return measure_speckle(at_pixels(self._pattern))

    def references(self, count: int = DEMO_REFERENCES) -> Iterator[Counts]:
        """Frames `(H, W)` without the sample, each with its own noise."""
        intensity = at_pixels(self._pattern)
        return (self._record(intensity, Purpose.REFERENCE, index) for index in range(count))

    def flats(self, count: int) -> Iterator[Counts]:
        """Frames without sample and diffuser, as long exposed; the beam is uniform."""
        intensity = torch.full(self.shape, 1 / self._mean)
        return (self._record(intensity, Purpose.FLAT, index) for index in range(count))

    def darks(self, count: int) -> Iterator[Counts]:
        """Frames without light."""
        intensity = torch.zeros(self.shape)
        return (self._record(intensity, Purpose.DARK, index) for index in range(count))

    def sample(self, index: int) -> Counts:
        """Sample frame `index`, `(H, W)`."""
        intensity = self._intensity_of(self._sample_at(index), self.propagated(index))
        return self._record(intensity, Purpose.SAMPLE, index)

    def _make_truth(self, sample: Sample) -> Truth:
        scatters = microstructure_of(sample) is not None
        return truth(sample, self.optics, self.shape, self._pattern if scatters else None)

    def _make_intensity(self, sample: Sample, propagated: bool) -> torch.Tensor:
        if propagated:
            return propagated_frame(self._field, sample, self.optics) / self._mean
        return displaced_frame(self._scattered(sample), _BORDER, sample, self.optics)

    def _record(self, intensity: torch.Tensor, purpose: Purpose, index: int) -> Counts:
        generator = seeded_generator(self._seed, purpose, index)
        return record(self._detector, intensity, self._counts, generator)

    def _scattered(self, sample: Sample) -> torch.Tensor:
        """Spline coefficients of the reference, blurred where the sample scatters."""
        structure = microstructure_of(sample)
        if structure is None:
            return self._coefficients
        places = pattern_grid(self.optics, self.shape)
        strength = structure.strength(self.optics, *places)
        return _continued_spline(scattered(self._pattern, strength, structure, self.optics))

    @property
    def _field_shape(self) -> tuple[int, int]:
        return self.shape[0] * self.optics.oversampling, self.shape[1] * self.optics.oversampling

    @cached_property
    def _field(self) -> torch.Tensor:
        """The wave field behind the diffuser."""
        generator = seeded_generator(self._seed, Purpose.DIFFUSER)
        return diffuser_field(self._paper, self.optics, self._field_shape, generator)

    @cached_property
    def _pattern(self) -> torch.Tensor:
        """Noise-free intensity of the reference, of mean one, two samples a pixel, periodic."""
        return detector_intensity(self._field, self.optics) / self._mean

    @cached_property
    def _mean(self) -> float:
        """Of the reference's intensity: what the diffuser lets through."""
        return float(self._field.abs().square().mean())

    @cached_property
    def _coefficients(self) -> torch.Tensor:
        return _continued_spline(self._pattern)


def _continued_spline(pattern: torch.Tensor) -> torch.Tensor:
    """Spline coefficients of a periodic pattern, continued by `_BORDER` on every side."""
    continued = functional.pad(pattern[None], (_BORDER,) * 4, mode="circular")
    return spline_coefficients(continued)[0]


def demo_scan(shape: tuple[int, int] = DEMO_SHAPE, seed: int = 0) -> Scan:
    """The scan of `cade demo`: alumina hills that slide through the beam, |u| up to 0.9 px."""
    optics = Optics()
    hills = random_hills(optics, shape, seeded_generator(seed, Purpose.PHANTOM))
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
