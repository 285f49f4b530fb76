"""Recordings of speckle patterns: which files repeat one pattern, and the average of its frames."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from cade.errors import CadeError
from cade.interpolation import warp
from models.normalisation import MEAN_SIGMA_PX, local_mean
from models.retraining.drift import DriftMeter, Shift
from models.retraining.noise import NoiseLevel, RepeatNoise, noise_of_spectrum, noise_of_variance

MOST_DRIFT_PX = 4.0
"""Farther apart, two frames are of two places of the diffuser, not repeats of one."""
LEAST_DRIFT_PX = 0.02
"""Smaller drift is averaged over: it blurs less than interpolation would."""
NOISE_FRAMES = 16
"""So many frames measure the noise to a percent, even of small frames."""
_COMPARED_PX = 512
"""Side of the middle of the frame that tells which files show the same pattern."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredAverage:
    """Mean and variance of a frame, `(H, W)`, of `frame_count` frames that are gone."""

    mean: torch.Tensor
    variance: torch.Tensor
    frame_count: int


@dataclass(frozen=True, slots=True)
class FrameFile:
    """A file of frames `(H, W)` float32, NaN where invalid; `frames()` reads it anew each time.

    The one frame of a file out of a store of references is the average that is `stored` there.
    """

    name: str
    frames: Callable[[], Iterator[torch.Tensor]]
    stored: StoredAverage | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """The files that show one pattern."""

    files: tuple[FrameFile, ...]

    @property
    def name(self) -> str:
        """For messages."""
        more = len(self.files) - 1
        return self.files[0].name + (f" and {more} more" if more else "")

    def frames(self) -> Iterator[tuple[str, torch.Tensor]]:
        """All frames with the name of their file."""
        for file in self.files:
            for frame in file.frames():
                yield file.name, frame


@dataclass(frozen=True, slots=True, eq=False)
class AveragedRecording:
    """`mean` `(H, W)` float32 at the place of the first frame, NaN on pixels that are dead in any.

    The flat's gain, where there is one, is in it.

    `drift_px` is the largest shift of a frame that was taken back, NaN where nobody knows; `noise`
    that of one frame.
    """

    name: str
    mean: torch.Tensor
    frame_count: int
    drift_px: float
    noise: NoiseLevel


def group_files(
    files: Sequence[FrameFile], gain: torch.Tensor | None = None
) -> tuple[list[Recording], dict[tuple[int, int], Shift]]:
    """Files of one pattern together, and how far apart recordings are that share speckle.

    Args:
        files: frames without the gain.
        gain: `(H, W)` that a flat gives: pixels of different gain make frames look alike.

    Returns:
        The recordings, and for each pair (i, j), i < j, of those that show parts of the same
        speckle, the shift of j against i.

    Raises:
        CadeError: a file without frames, or of another shape; both files are named.
    """
    groups: list[list[FrameFile]] = []
    meters: list[DriftMeter] = []
    overlaps: dict[tuple[int, int], Shift] = {}
    shape: torch.Size | None = None
    for file in files:
        first = next(file.frames(), None)
        if first is None:
            raise CadeError(f"{file.name}: holds no frame; leave it out")
        shape = shape or first.shape
        _check_shape(file.name, first, files[0].name, shape)
        middle = _middle(_corrected(first, gain))
        found = [meter.shift(middle) for meter in meters]
        same = [i for i, s in enumerate(found) if s.repeats(MOST_DRIFT_PX)]
        if same:
            groups[same[0]].append(file)
            continue
        overlaps |= {(i, len(groups)): s for i, s in enumerate(found) if s.shares_speckle}
        groups.append([file])
        meters.append(DriftMeter(middle))
    return [Recording(tuple(group)) for group in groups], overlaps


def average_recording(recording: Recording, gain: torch.Tensor | None = None) -> AveragedRecording:
    """Mean, drift and noise of a recording, one frame in memory at a time.

    Frames that drifted are moved back by spline interpolation before they are averaged. Their noise
    is measured where they were taken, against the mean moved there: interpolation would smooth it.
    Of averages that were stored, the one of the most frames is taken alone.

    Args:
        recording: frames without the gain.
        gain: `(H, W)` that a flat gives, NaN on dead pixels.

    Raises:
        CadeError: frames of different shapes, or a frame of another pattern.
    """
    stored = [(f.stored.frame_count, f.name, f.stored) for f in recording.files if f.stored]
    if stored:
        count, name, best = max(stored, key=lambda entry: entry[0])
        noise = noise_of_variance(best.mean, best.variance, count)
        return AveragedRecording(name, _corrected(best.mean, gain), count, math.nan, noise)
    motions, mean = _aligned_mean(recording, gain)
    if len(motions) == 1:
        return AveragedRecording(recording.name, mean, 1, 0.0, noise_of_spectrum(mean))
    noise = _repeat_noise(recording, mean, gain, motions)
    drift = max(motion.shift.length_px for motion in motions)
    return AveragedRecording(recording.name, mean, len(motions), drift, noise)


@dataclass(frozen=True, slots=True)
class _Motion:
    """Of a frame against the first: its shift, and its brightness over the first one's."""

    shift: Shift
    scale: float


def _aligned_mean(
    recording: Recording, gain: torch.Tensor | None
) -> tuple[list[_Motion], torch.Tensor]:
    """The motion of every frame, and the mean of all, corrected and moved back."""
    motions: list[_Motion] = []
    total, dead = torch.empty(0), torch.empty(0)
    meter: DriftMeter | None = None
    level = 1.0
    for name, raw in recording.frames():
        if meter is not None:
            _check_shape(name, raw, recording.files[0].name, total.shape)
        frame = _corrected(raw, gain)
        if meter is None:
            meter, level = DriftMeter(frame), float(frame.nanmean())
            total, dead = torch.zeros(frame.shape, dtype=torch.float64), torch.zeros(frame.shape)
        motion = _Motion(meter.shift(frame), float(frame.nanmean()) / level)
        if motions and not motion.shift.repeats(MOST_DRIFT_PX):
            raise CadeError(
                f"{name}: frame {len(motions)} of {recording.name} does not repeat the pattern of "
                f"the first one: store the frames of each pattern in a file of their own, and "
                f"leave out those without usable speckle"
            )
        shift = motion.shift
        total += _moved(_filled(frame), -shift.x_px, -shift.y_px) / motion.scale
        dead = torch.maximum(dead, _spoilt(frame, shift))
        motions.append(motion)
    mean = (total / len(motions)).float()
    return motions, torch.where(dead > 0, torch.nan, mean)


def _repeat_noise(
    recording: Recording, mean: torch.Tensor, gain: torch.Tensor | None, motions: list[_Motion]
) -> NoiseLevel:
    """The noise of the frames as they were taken, without the gain."""
    filled = _filled(mean)
    residuals = RepeatNoise(mean if gain is None else mean / gain, len(motions))
    every = -(-len(motions) // NOISE_FRAMES)
    entries = zip(recording.frames(), motions, strict=True)
    for (_, frame), motion in itertools.islice(entries, 0, None, every):
        expected = motion.scale * _moved(filled, motion.shift.x_px, motion.shift.y_px)
        residuals.add(frame, expected if gain is None else expected / gain)
    return residuals.level()


def _corrected(frame: torch.Tensor, gain: torch.Tensor | None) -> torch.Tensor:
    return frame if gain is None else frame * gain


def _spoilt(frame: torch.Tensor, shift: Shift) -> torch.Tensor:
    """1 where a dead pixel reaches, after the frame was moved back."""
    dead = (~torch.isfinite(frame)).float()
    if shift.length_px < LEAST_DRIFT_PX or not dead.any():
        return dead
    reach = int(shift.length_px) + 2
    return functional.max_pool2d(dead[None], 2 * reach + 1, 1, reach)[0]


def _moved(image: torch.Tensor, x_px: float, y_px: float) -> torch.Tensor:
    """The image moved right and down; as it is, where that is next to nothing."""
    if max(abs(x_px), abs(y_px)) < LEAST_DRIFT_PX:
        return image
    ux, uy = (torch.full_like(image, u)[None] for u in (x_px, y_px))
    return warp(image[None], ux, uy)[0]


def _filled(frame: torch.Tensor) -> torch.Tensor:
    """The frame with its local mean on invalid pixels."""
    known = torch.isfinite(frame)
    if bool(known.all()):
        return frame
    filled = torch.where(known, frame, 0.0)
    mean = local_mean(filled[None], MEAN_SIGMA_PX, known.float()[None])[0]
    return torch.where(known, frame, mean)


def _middle(frame: torch.Tensor) -> torch.Tensor:
    rows, columns = (slice(max(0, (n - _COMPARED_PX) // 2), None) for n in frame.shape)
    return frame[rows, columns][:_COMPARED_PX, :_COMPARED_PX]


def _check_shape(name: str, frame: torch.Tensor, first: str, shape: torch.Size) -> None:
    if frame.shape != shape:
        raise CadeError(
            f"{name}: frames are {tuple(frame.shape)} px, those of {first} {tuple(shape)}; give "
            f"references of one shape"
        )
