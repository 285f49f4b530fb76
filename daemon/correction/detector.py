"""What is known of a detector apart from its frames: bad pixels, gains, limits, mounting."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from cade.errors import CadeError, UsageError
from cade.frames import Image, SeriesStart
from daemon.correction.detector_maps import read_map
from daemon.correction.mounting import AS_IT_IS, Mounting, mounting
from daemon.correction.pixel_limits import NO_LIMITS, Limits
from daemon.recording.scan_header import Parameter
from daemon.settings import DetectorSettings

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """How its frames are corrected before anything else, and how it is mounted.

    `factor` `(H, W)` float32 multiplies the counts above the dark: the detector's flat field over
    the gain; it is NaN on bad pixels. `used` names what it is made of, each with where it is from.
    Both are of the whole frame as the detector sends it.
    """

    factor: NDArray[np.float32] | None = None
    limits: Limits = NO_LIMITS
    mounting: Mounting = AS_IT_IS
    used: dict[str, str] = field(default_factory=dict)
    _bad: dict[Shape, NDArray[np.bool_] | None] = field(default_factory=dict, repr=False)

    def problem(self, frame_shape: Shape) -> str:
        """Why frames `(H, W)` cannot be corrected; empty where they can."""
        if self.factor is not None and self.factor.shape != frame_shape:
            where = ", ".join(f"detector.{name} ({origin})" for name, origin in self.used.items())
            return (
                f"{where} has shape {self.factor.shape}, the frame {frame_shape}; name one that "
                "was made for this detector and its region"
            )
        return self.mounting.problem(frame_shape)

    def bad(self, frame_shape: Shape) -> NDArray[np.bool_] | None:
        """The bad pixels of the part of the frame that is used; None where there are none."""
        if self.factor is None:
            return None
        if frame_shape not in self._bad:
            bad = np.isnan(self.factor[self.mounting.part(frame_shape)])
            self._bad[frame_shape] = bad if bad.any() else None
        return self._bad[frame_shape]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the result file says about it, apart from the mounting."""
        limits = (
            ("saturation_value", self.limits.saturation_value),
            ("invalid_below", self.limits.invalid_below),
        )
        return (
            *(Parameter(name, origin) for name, origin in self.used.items()),
            *(Parameter(name, value, "counts") for name, value in limits if value is not None),
        )

    def with_start(self, start: SeriesStart) -> Detector:
        """With what the detector's start message brings; files count before it.

        A flat field that the detector has applied itself is not applied again. What does not fit
        the series' shape, or leaves no pixel, is left out with a word in the log.
        """
        detector = self
        flatfield = None if start.flatfield_applied else start.flatfield
        for name, image in (("mask", start.pixel_mask), ("flatfield", flatfield)):
            if image is None or (name in self.used and name != "mask"):
                continue
            try:
                if start.shape is not None and image.shape != start.shape:
                    raise CadeError(f"its shape is {image.shape}, that of the images {start.shape}")
                detector = detector._with(name, image, "start message")
            except CadeError as error:
                structlog.get_logger(__name__).warning(
                    f"the detector's {name} is not used",
                    series=start.series_id,
                    problem=str(error),
                )
        return detector

    def _with(self, name: str, image: Image, origin: str) -> Detector:
        """With one more image.

        Raises:
            CadeError: it leaves no valid pixel, or has another shape than those before.
        """
        factor = _FACTORS[name](image)
        if self.factor is not None:
            if self.factor.shape != factor.shape:
                others = f"that of {' and '.join(self.used)} {self.factor.shape}"
                raise CadeError(f"its shape is {factor.shape}, {others}")
            factor = factor * self.factor
        if not self.mounting.problem(factor.shape):
            seen = np.isfinite(factor[self.mounting.part(factor.shape)])
            if not seen.any():
                raise CadeError("it leaves no valid pixel")
        origins = [self.used[name]] if name in self.used else []
        used = self.used | {name: " and ".join([*origins, origin])}
        return replace(self, factor=factor, used=used, _bad={})


def load_detector(settings: DetectorSettings) -> Detector:
    """The detector that the settings describe, with its files.

    Raises:
        CadeError: a file that cannot be read, or does not make sense.
        UsageError: files of different shapes, or a region of interest beyond them.
    """
    detector = Detector(
        limits=Limits(settings.saturation_value, settings.invalid_below),
        mounting=mounting(settings),
    )
    for name in _FACTORS:
        path = getattr(settings, name)
        if path is None:
            continue
        image = read_map(path, name)
        _warn(name, str(path), image)
        try:
            detector = detector._with(name, image, str(path))
        except CadeError as error:
            raise CadeError(f"detector.{name}: {path}: {error}; name another file") from None
    if detector.factor is not None:
        problem = detector.problem((detector.factor.shape[0], detector.factor.shape[1]))
        if problem:
            raise UsageError(problem)
    return detector


def _mask_factor(image: Image) -> NDArray[np.float32]:
    good = image == 0  # NaN is bad
    return np.where(good, 1, np.nan).astype(np.float32)


def _flatfield_factor(image: Image) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        factor = image.astype(np.float32)
        factor[~(np.isfinite(factor) & (factor > 0))] = np.nan
    return factor


def _gain_factor(image: Image) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        return np.float32(1) / _flatfield_factor(image)


_FACTORS: dict[str, Any] = {
    "mask": _mask_factor,
    "gain": _gain_factor,
    "flatfield": _flatfield_factor,
}


def _warn(name: str, path: str, image: Image) -> None:
    """A gain that is 0, negative or NaN makes no number of counts."""
    if name == "mask":
        return
    count = int(np.count_nonzero(np.isnan(_FACTORS[name](image))))
    if count:
        structlog.get_logger(__name__).warning(
            f"pixels without a {name} are invalid", file=path, pixels=count, of=image.size
        )
