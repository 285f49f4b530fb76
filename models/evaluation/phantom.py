"""The paper's sine phantom: frames by wave propagation through diffuser, sample and free space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models.evaluation.spread import standard_error
from models.tracker import Tracker
from simulator.optics import Optics
from simulator.projection import pixel_grid
from simulator.scan import Scan
from simulator.sine_phantom import sine_phantom

COUNTS = 1e4
SINE_SEED = 79
_BAND_ROWS = 32
"""Rows whose errors count as one sample: speckle and windows reach less far."""


@dataclass(frozen=True, slots=True)
class SineRow:
    """Errors over the base of the phantom, both components; angles in rad."""

    rmse_px: float
    rmse_x_px: float
    bias_x_px: float
    rmse_rad: float
    rmse_error_px: float
    valid_fraction: float
    frames: int


@dataclass(frozen=True, slots=True)
class SineProfileRow:
    """One column: true and found displacement and refraction angle along x, mean over rows."""

    x_px: int
    truth_px: float
    found_px: float
    rmse_px: float
    truth_rad: float
    found_rad: float


@dataclass(frozen=True, slots=True, eq=False)
class SineFound:
    """Columns of the base `(W',)`; error `(n, 2, H, W')`, NaN where invalid; truth `(H, W')`."""

    x_px: torch.Tensor
    error_px: torch.Tensor
    truth_px: torch.Tensor
    map_px: torch.Tensor
    rad_per_px: float


def sine_scans(count: int, shape: tuple[int, int]) -> list[Scan]:
    """Scans of diffusers of their own, at N0 = 1e4."""
    optics = Optics()
    sine = sine_phantom(optics, shape)
    return [
        Scan(
            lambda _: sine,
            shape,
            SINE_SEED + index,
            optics=optics,
            counts=COUNTS,
            propagate_every=1,
        )
        for index in range(count)
    ]


def sine_found(tracker: Tracker, scans: Sequence[Scan]) -> SineFound:
    """One sample frame of each scan, tracked against one reference frame."""
    geometry, shape = scans[0].optics.geometry, scans[0].shape
    sine = sine_phantom(scans[0].optics, shape)
    x_m = pixel_grid(scans[0].optics, shape)[0][0]
    on_base = (x_m >= sine.left_m) & (x_m < sine.left_m + sine.base_m)
    truth = scans[0].truth(0)
    errors, maps = [], []
    for scan in scans:
        [reference] = (counts.astype("float32") for counts in scan.references(1))
        found = tracker.track(torch.from_numpy(reference), _sample(scan))
        error = torch.stack([found.ux_px - truth.ux_px, found.uy_px - truth.uy_px])
        errors.append(error[..., on_base])
        maps.append(found.ux_px[:, on_base])
    return SineFound(
        x_px=torch.arange(shape[1])[on_base],
        error_px=torch.stack(errors),
        truth_px=truth.ux_px[:, on_base],
        map_px=maps[0],
        rad_per_px=geometry.pixel_size_m / geometry.distance_m,
    )


def _sample(scan: Scan) -> torch.Tensor:
    return torch.from_numpy(scan.sample(0).astype("float32"))


def sine_row(found: SineFound) -> SineRow:
    """Errors over everything. A pixel that is called invalid counts as found to be zero."""
    error = _counted(found)
    both = error.square().sum(dim=1)
    bands = torch.split(both, _BAND_ROWS, dim=1)
    per_band = torch.cat([band.mean(dim=(1, 2)).sqrt() for band in bands])
    rmse_px = math.sqrt(float(both.mean()))
    return SineRow(
        rmse_px=rmse_px,
        rmse_x_px=float(error[:, 0].square().mean().sqrt()),
        bias_x_px=abs(float(error[:, 0].mean())),
        rmse_rad=rmse_px * found.rad_per_px,
        rmse_error_px=standard_error(per_band.tolist()),
        valid_fraction=float(found.error_px[:, 0].isfinite().float().mean()),
        frames=len(error),
    )


def sine_profile(found: SineFound) -> list[SineProfileRow]:
    """Mean and error of every column, over rows and frames."""
    error = _counted(found)[:, 0]
    truth = found.truth_px.mean(dim=0)
    mean = truth + error.mean(dim=(0, 1))
    rmse = error.square().mean(dim=(0, 1)).sqrt()
    columns = zip(found.x_px.tolist(), truth.tolist(), mean.tolist(), rmse.tolist(), strict=True)
    scale = found.rad_per_px
    return [SineProfileRow(x, t, m, r, t * scale, m * scale) for x, t, m, r in columns]


def _counted(found: SineFound) -> torch.Tensor:
    zero = torch.stack([-found.truth_px, torch.zeros_like(found.truth_px)])
    return torch.where(found.error_px.isfinite(), found.error_px, zero)
