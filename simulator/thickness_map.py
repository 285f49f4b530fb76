"""A user's own sample: a map of its thickness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cade.errors import UsageError
from cade.interpolation import sample_spline, spline_coefficients, spline_slopes
from simulator.materials import Material
from simulator.optics import Optics
from simulator.phantom import Slopes, frame_size_m, from_nearest


@dataclass(frozen=True, slots=True, eq=False)
class ThicknessMap:
    """A map in the middle of the frame, a cubic spline between its nodes, nothing beside it.

    A map of the frame's own shape and pitch has its nodes at the pixels.
    """

    material: Material
    coefficients_m: torch.Tensor
    """Of the spline, `(1, h, w)` float64, row = y down."""
    pitch_m: float
    pixel_m: float
    """Of the detector, in the sample plane."""
    size_m: tuple[float, float]
    """Height and width of the frame, with which the phantom repeats."""

    def thickness_m(self, x_m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Thickness in m."""
        column, row, inside = self._nodes(x_m, y_m)
        return (sample_spline(self.coefficients_m, column, row)[0] * inside).to(x_m.dtype)

    def slopes(self, x_m: torch.Tensor, y_m: torch.Tensor) -> Slopes:
        """∂t/∂x and ∂t/∂y of the spline; the edge of the map is not among them."""
        column, row, inside = self._nodes(x_m, y_m)
        slope_x, slope_y = spline_slopes(self.coefficients_m, column, row)
        per_m = inside / self.pitch_m
        return (slope_x[0] * per_m).to(x_m.dtype), (slope_y[0] * per_m).to(x_m.dtype)

    def _nodes(
        self, x_m: torch.Tensor, y_m: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Column and row `(1, H, W)` in the map, and whether the map reaches there."""
        places = []
        inside = torch.ones((), dtype=torch.bool)
        sides = zip((y_m, x_m), self.coefficients_m.shape[1:], self.size_m, strict=True)
        for position_m, count, length_m in sides:
            middle_m = (length_m - self.pixel_m) / 2
            place = from_nearest(position_m.double(), middle_m, length_m) / self.pitch_m
            inside = inside & (place.abs() <= count / 2)
            places.append(place + (count - 1) / 2)
        row, column = places
        shape = (1, row.shape[0], column.shape[1])
        return column.expand(shape), row.expand(shape), inside


def thickness_map(
    optics: Optics,
    shape: tuple[int, int],
    made_of: Material,
    map_m: NDArray[Any],
    pitch_m: float,
) -> ThicknessMap:
    """A map `(h, w)` of thicknesses in m, `pitch_m` apart, in the middle of a frame `(H, W)`.

    Raises:
        UsageError: not a map, thicknesses that are not finite or below zero, an unphysical pitch,
            or the map is larger than the frame.
    """
    if map_m.ndim != 2 or min(map_m.shape) < 2 or map_m.dtype.kind not in "uif":
        raise UsageError(
            f"thickness map: needs real numbers (h, w), not {map_m.dtype} {map_m.shape}"
        )
    if not (np.isfinite(map_m).all() and (map_m >= 0).all()):
        raise UsageError("thickness map: every thickness must be finite and not below zero")
    if not (math.isfinite(pitch_m) and pitch_m > 0):
        raise UsageError(f"thickness map: its pitch must be a positive length, not {pitch_m!r} m")
    size_m = frame_size_m(optics, shape)
    for count, length_m in zip(map_m.shape, size_m, strict=True):
        if count * pitch_m > length_m * (1 + 1e-9):
            raise UsageError(
                f"thickness map: {count} nodes {pitch_m * 1e6:.4g} µm apart do not fit into a "
                f"frame of {length_m * 1e6:.0f} µm; use a larger frame or a part of the map"
            )
    coefficients_m = spline_coefficients(torch.from_numpy(map_m.astype(np.float64))[None])
    pixel_m = optics.geometry.sample_pixel_m
    return ThicknessMap(made_of, coefficients_m, pitch_m, pixel_m, size_m)
