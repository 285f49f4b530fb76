"""Correction: raw counts to intensities that only sample and speckle have shaped, as mounted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from cade.errors import CadeError
from cade.frames import Frame, Image
from daemon.correction.detector import Detector
from daemon.recording.scan_header import Parameter

LEAST_FLAT = 0.05
"""A pixel with less than this share of the flat's mean is dead: it becomes invalid."""
_NARROW = tuple(np.dtype(name) for name in ("u1", "u2", "i1", "i2", "f2", "f4"))
"""Number types that float32 holds exactly, and that every device takes."""

Maps = tuple[torch.Tensor | None, torch.Tensor | None]
Region = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """`(I − dark) · gain`, then the detector's mounting; each may be missing.

    `dark` and `gain` are `(H, W)` float32 of the whole frame. `gain` is the detector's own factors
    over the flat's, NaN on bad and dead pixels. References and samples go through the same, so a
    stored reference is as right with another dark, flat or mask. What a device needs of both is
    copied to it once.
    """

    dark: NDArray[np.float32] | None = None
    gain: NDArray[np.float32] | None = None
    detector: Detector = field(default_factory=Detector)
    flat: bool = False
    _maps: dict[tuple[torch.device, str], Maps] = field(default_factory=dict, repr=False)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the result file says about it."""
        return (
            Parameter("dark", self.dark is not None),
            Parameter("flat", self.flat),
            *self.detector.parameters,
        )

    def image_shape(self, frame_shape: tuple[int, int]) -> tuple[int, int]:
        """Shape of the corrected image of a frame `(H, W)`."""
        return self.detector.mounting.image_shape(frame_shape)

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Corrected images `(..., h, w)`, as mounted, of float32 frames `(..., H, W)`."""
        part = self.detector.mounting.part((int(images.shape[-2]), int(images.shape[-1])))
        return self._applied(images[(..., *part)], part)

    def reference(self, image: Image, device: torch.device) -> torch.Tensor:
        """The corrected average `(h, w)` of frames; invalid pixels of it are NaN already."""
        part = self.detector.mounting.part((image.shape[0], image.shape[1]))
        return self._applied(_on_device(image[part], device), part)

    def samples(self, frames: Sequence[Frame], device: torch.device) -> torch.Tensor:
        """Corrected frames `(N, h, w)`, saturated and marked pixels NaN.

        All have one shape and number type. Only what the region of interest needs is copied.
        """
        first = frames[0].data
        part = self.detector.mounting.part((first.shape[0], first.shape[1]))
        if first.dtype not in _NARROW:
            marked = [_float(self.detector.limits.marked(frame, part)) for frame in frames]
            return self._applied(_on_device(np.stack(marked), device), part)
        images = _on_device(np.stack([frame.data[part] for frame in frames]), device)
        return self._applied(self._marked(images, frames), part)

    def _marked(self, images: torch.Tensor, frames: Sequence[Frame]) -> torch.Tensor:
        """What `Limits.marked` does, on the device: float32 holds these numbers exactly."""
        limits = self.detector.limits
        ceilings = [limits.ceiling(frame) for frame in frames]
        if any(ceiling is not None for ceiling in ceilings):
            highest = images.new_tensor([torch.inf if c is None else c for c in ceilings])
            images = images.masked_fill(images >= highest[:, None, None], torch.nan)
        if limits.invalid_below is not None:
            images = images.masked_fill(images < limits.invalid_below, torch.nan)
        return images

    def _applied(self, images: torch.Tensor, part: Region) -> torch.Tensor:
        dark, gain = self._on(images.device, part)
        if dark is not None:
            images = images - dark
        if gain is not None:
            images = images * gain
        return self.detector.mounting.mounted(images)

    def _on(self, device: torch.device, part: Region) -> Maps:
        """Dark and gain of a part of the frame, which stay on the device."""
        key = (device, str(part))
        if key not in self._maps:
            dark, gain = (
                None if image is None else _on_device(image[part], device)
                for image in (self.dark, self.gain)
            )
            self._maps[key] = dark, gain
        return self._maps[key]


def make_correction(
    flat: Image | None, dark: Image | None, detector: Detector | None = None
) -> Correction:
    """The correction that averaged flat and dark frames `(H, W)` of a detector make.

    The denominator (flat − dark) is scaled to mean one.

    Raises:
        CadeError: they have different shapes, or the flat is empty.
    """
    detector = detector or Detector()
    below = None if dark is None else np.asarray(dark, np.float32)
    if flat is None:
        return Correction(below, detector.factor, detector)
    if below is not None and below.shape != flat.shape:
        raise CadeError(f"flat {flat.shape} and dark {below.shape} have different shapes")
    light = np.asarray(flat, np.float32) - (0.0 if below is None else below)
    if detector.factor is not None:
        light = light * detector.factor
    known = light[np.isfinite(light)]
    mean = float(known.mean()) if known.size else 0.0
    if mean <= 0:
        raise CadeError(f"the flat holds no light above the dark (mean {mean:.3g} counts)")
    dead = ~(light > LEAST_FLAT * mean)
    gain = np.where(dead, np.nan, mean / np.where(dead, 1.0, light)).astype(np.float32)
    if detector.factor is not None:
        gain = gain * detector.factor
    return Correction(below, gain, detector, flat=True)


def _on_device(image: Image, device: torch.device) -> torch.Tensor:
    """Float32 on the device; narrow numbers are converted there, which halves the transfer."""
    if image.dtype not in _NARROW:
        image = _float(image)
    image = np.ascontiguousarray(image)
    if not image.flags.writeable:  # torch wants no others
        image = image.copy()
    return torch.from_numpy(image).to(device).float()


def _float(image: Image) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is beyond float32 becomes inf: invalid
        return image.astype(np.float32, copy=False)
