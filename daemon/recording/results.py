"""Finished rows on the host: what the pipeline hands to the writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cade.displacement import Displacement, Refraction
from cade.reading import Reading

Fields = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class StageTimes:
    """Where the time of each frame went, every array `(N,)` in s.

    `waiting` is from arrival to the start of its batch; the others are the frame's share of its
    batch: tracking, refraction and phase, and the copy back to the host.
    """

    waiting_s: Fields
    tracking_s: Fields
    phase_s: Fields
    copying_s: Fields


@dataclass(frozen=True, slots=True, eq=False)
class TransmissionScale:
    """How the transmission of each frame was normalised, every array `(N,)`.

    `scale` is what it was multiplied by, NaN where it is as measured; the monitors are NaN where
    nobody measured them.
    """

    monitor: Fields
    reference_monitor: Fields
    scale: Fields


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """How good each frame is, arrays `(N,)`.

    `sigma_median_px` is the median over valid pixels of √((σx² + σy²)/2), NaN where the tracker
    gives no sigma or no pixel is valid.
    """

    valid_fraction: Fields
    sigma_median_px: Fields


def measure_quality(displacement: Displacement[NDArray[Any]]) -> Quality:
    """The quality figures of displacements `(N, H, W)`."""
    valid = displacement.valid
    sigma_px = np.full(len(valid), np.nan)
    if displacement.sigma_x_px is not None and displacement.sigma_y_px is not None:
        for row, inside in enumerate(valid):
            if inside.any():
                sigma_x, sigma_y = (
                    sigma[row][inside]
                    for sigma in (displacement.sigma_x_px, displacement.sigma_y_px)
                )
                sigma_px[row] = np.median(np.sqrt((sigma_x**2 + sigma_y**2) / 2))
    return Quality(valid.mean(axis=(1, 2)), sigma_px)


@dataclass(frozen=True, slots=True, eq=False)
class ResultRows:
    """N processed frames of one series, in the order in which they are written.

    Fields are NumPy `(N, H, W)`; `timestamps_s` (Unix time) and `image_ids` are `(N,)`.
    `refraction` and `phase` are None where the geometry is not known. `drifts_px` `(N, 2)`, x and
    y, is what moved the whole pattern since the reference, NaN where it was not measured.
    `transmission_scale` is what `displacement.transmission` has been multiplied by already.
    `readings` are what process variables said to each frame, empty where the series asks none.
    """

    series_id: str
    image_ids: NDArray[np.int64]
    timestamps_s: NDArray[np.float64]
    reference_ids: tuple[str, ...]
    displacement: Displacement[NDArray[Any]]
    refraction: Refraction[NDArray[Any]] | None
    phase: Fields | None
    quality: Quality
    times: StageTimes
    drifts_px: Fields
    transmission_scale: TransmissionScale | None = None
    readings: tuple[tuple[Reading, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)
