"""How the detector is mounted: rotation, flips, region of interest, binning; and where pixels are.

The *mounted* image is the whole frame, turned and flipped as the settings say: what one would see
standing behind the detector, or wishes to. Its pixels, not binned, count the region of interest,
the region of free air, and the axes of the result file.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cade.geometry import Geometry
from daemon.settings import DetectorSettings

if TYPE_CHECKING:
    import torch

Shape = tuple[int, int]
Bounds = tuple[int, int, int, int]
"""y0, y1, x0, x1: rows y0 … y1 − 1, columns x0 … x1 − 1."""
LEAST_SHARE = 0.5
"""A bin of which fewer pixels are valid is invalid."""


@dataclass(frozen=True, slots=True)
class Mounting:
    """From the detector's frame to the image that is processed.

    First the rotation, clockwise on the screen (row down), then the flips, then the region of
    interest, then the binning. Rows and columns that fill no bin are left out at the far edge,
    below and on the right. References are kept as the detector gives them, so that another
    mounting does not make them wrong.
    """

    rotation_deg: Literal[0, 90, 180, 270] = 0
    flip_x: bool = False
    flip_y: bool = False
    roi: Bounds | None = None
    binning: int = 1
    binning_mode: Literal["mean", "sum"] = "mean"

    def problem(self, frame_shape: Shape) -> str:
        """Why a frame `(H, W)` cannot be used so; empty where it can."""
        height, width = self.mounted_shape(frame_shape)
        top, bottom, left, right = self.roi or (0, height, 0, width)
        if bottom > height or right > width:
            return (
                f"detector.roi = {[top, bottom, left, right]} reaches beyond the mounted image of "
                f"{height} x {width} pixels; correct it"
            )
        if min(bottom - top, right - left) < self.binning:
            return (
                f"detector.binning = {self.binning} leaves nothing of the {bottom - top} x "
                f"{right - left} pixels; lower it"
            )
        return ""

    def image_shape(self, frame_shape: Shape) -> Shape:
        """Shape of the processed image."""
        top, bottom, left, right = self.bounds(frame_shape)
        return (bottom - top) // self.binning, (right - left) // self.binning

    def part(self, frame_shape: Shape) -> tuple[slice, slice]:
        """Rows and columns of the detector's frame that the processed image is made of."""
        height, width = self.mounted_shape(frame_shape)
        top, bottom, left, right = self.bounds(frame_shape)
        if self.flip_x:
            left, right = width - right, width - left
        if self.flip_y:
            top, bottom = height - bottom, height - top
        # A pixel of the turned image at (y, x) is at (rows, columns) of the frame:
        rows, columns = frame_shape
        match self.rotation_deg:
            case 90:  # (rows − 1 − x, y)
                return slice(rows - right, rows - left), slice(top, bottom)
            case 180:  # (rows − 1 − y, columns − 1 − x)
                return slice(rows - bottom, rows - top), slice(columns - right, columns - left)
            case 270:  # (x, columns − 1 − y)
                return slice(left, right), slice(columns - bottom, columns - top)
            case _:
                return slice(top, bottom), slice(left, right)

    def mounted(self, part: torch.Tensor) -> torch.Tensor:
        """The processed image `(..., h, w)` of this part of frames, NaN where invalid."""
        if self.rotation_deg:
            part = part.rot90(-(self.rotation_deg // 90), (-2, -1))
        flipped = [dim for dim, flip in ((-1, self.flip_x), (-2, self.flip_y)) if flip]
        if flipped:
            part = part.flip(flipped)
        return part if self.binning == 1 else self._binned(part)

    def centres_px(self, frame_shape: Shape) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where rows and columns of the processed image are in the mounted one; px, not binned."""
        height, width = self.image_shape(frame_shape)
        top, _, left, _ = self.bounds(frame_shape)
        middle = (self.binning - 1) / 2
        return (
            top + middle + self.binning * np.arange(height, dtype=np.float64),
            left + middle + self.binning * np.arange(width, dtype=np.float64),
        )

    def inside(self, region: Bounds, frame_shape: Shape) -> tuple[slice, slice]:
        """The pixels of the processed image that lie wholly in a region; may be none."""
        top, _, left, _ = self.bounds(frame_shape)
        height, width = self.image_shape(frame_shape)
        y0, y1, x0, x1 = region
        return (
            _whole_bins(y0 - top, y1 - top, self.binning, height),
            _whole_bins(x0 - left, x1 - left, self.binning, width),
        )

    def scaled(self, geometry: Geometry) -> Geometry:
        """The geometry of the processed image: a binned pixel is larger."""
        if self.binning == 1:
            return geometry
        pixel_size_m = geometry.pixel_size_m * self.binning
        return dataclasses.replace(geometry, pixel_size_m=pixel_size_m)

    def mounted_shape(self, frame_shape: Shape) -> Shape:
        """Shape of the whole mounted image, not binned."""
        rows, columns = frame_shape
        return (rows, columns) if self.rotation_deg in (0, 180) else (columns, rows)

    def bounds(self, frame_shape: Shape) -> Bounds:
        """The region of the mounted image that is used: without what fills no bin."""
        height, width = self.mounted_shape(frame_shape)
        top, bottom, left, right = self.roi or (0, height, 0, width)
        bottom -= (bottom - top) % self.binning
        right -= (right - left) % self.binning
        return top, bottom, left, right

    def _binned(self, image: torch.Tensor) -> torch.Tensor:
        """The mean of a bin's valid pixels; as a sum, as many times that as a bin has pixels."""
        size = self.binning
        *more, height, width = image.shape
        bins = image.reshape(*more, height // size, size, width // size, size)
        known = bins.isfinite()
        count = known.sum(dim=(-3, -1))
        mean = bins.masked_fill(~known, 0.0).sum(dim=(-3, -1)) / count.clamp(min=1)
        mean = mean.masked_fill(count < LEAST_SHARE * size**2, math.nan)
        return mean if self.binning_mode == "mean" else mean * size**2


AS_IT_IS = Mounting()


def mounting(settings: DetectorSettings) -> Mounting:
    """The mounting that the settings describe."""
    return Mounting(
        rotation_deg=settings.rotation_deg,
        flip_x=settings.flip_x,
        flip_y=settings.flip_y,
        roi=settings.roi,
        binning=settings.binning,
        binning_mode=settings.binning_mode,
    )


def _whole_bins(start: int, stop: int, size: int, length: int) -> slice:
    first = min(max(0, -(-start // size)), length)
    return slice(first, max(first, min(stop // size, length)))
