"""What the transmission is measured against: the beam's monitor, or a region of free air."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import structlog

from cade.errors import UsageError
from daemon.correction.monitor import usable
from daemon.correction.mounting import Mounting, Shape
from daemon.recording.results import TransmissionScale
from daemon.recording.scan_header import Parameter
from daemon.settings import DetectorSettings, TransmissionSettings

if TYPE_CHECKING:
    import torch

    from daemon.batches import PairBatch

MOST_TOLD = 1000
"""Series that are remembered as having been warned about."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How the transmission of a series is normalised.

    `by` the `monitor`: T = (S/m_s)/(R/m_r), row by row where both values are there; by `free_air`:
    the median of T in `region`, of the processed image, is 1. `problem` says why not, where one
    of them was wanted.
    """

    by: Literal["none", "monitor", "free_air"] = "none"
    region: tuple[slice, slice] | None = None
    problem: str = ""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the result file says about it."""
        stated = Parameter("transmission_normalised_by", self.by)
        if not self.problem:
            return (stated,)
        return (stated, Parameter("transmission_not_normalised_because", self.problem))


NOT_NORMALISED = Normalisation()


def normalisation(
    settings: TransmissionSettings, mounting: Mounting, frame_shape: Shape, monitor: float | None
) -> Normalisation:
    """What the settings mean for frames `(H, W)`, the first sample of which has this monitor."""
    if settings.free_air is not None:
        region = mounting.inside(settings.free_air, frame_shape)
        height, width = mounting.image_shape(frame_shape)
        if not (len(range(height)[region[0]]) and len(range(width)[region[1]])):
            where = f"transmission.free_air = {list(settings.free_air)}"
            return Normalisation(problem=f"{where} has no pixel in the processed image")
        return Normalisation("free_air", region)
    if not settings.monitor:
        return NOT_NORMALISED
    if monitor is None:
        return Normalisation(problem="the first sample has no monitor value")
    if usable(monitor) is None:
        return Normalisation(problem=f"the first sample's monitor value is {monitor:g}")
    return Normalisation("monitor")


def check_free_air(settings: TransmissionSettings, detector: DetectorSettings) -> None:
    """Refuse a region of free air that the region of interest leaves out.

    Raises:
        UsageError: the two have no pixel in common.
    """
    if settings.free_air is None or detector.roi is None:
        return
    y0, y1, x0, x1 = settings.free_air
    top, bottom, left, right = detector.roi
    if min(y1, bottom) <= max(y0, top) or min(x1, right) <= max(x0, left):
        raise UsageError(
            f"transmission.free_air = {list(settings.free_air)} lies outside detector.roi = "
            f"{list(detector.roi)}; both count pixels of the mounted image, not binned"
        )


class Normaliser:
    """Finds by what the transmission of each row is multiplied. Used by one thread."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._log = structlog.get_logger(__name__)

    def scales(self, batch: PairBatch, transmission: torch.Tensor | None) -> TransmissionScale:
        """The factors, NaN where `transmission` `(N, h, w)` stays as it was measured."""
        reference = batch.reference.monitor
        monitors = [frame.monitor for frame in batch.samples]
        chosen = batch.series.normalisation
        if chosen.by == "free_air" and chosen.region is not None and transmission is not None:
            scale = _free_air(transmission[(slice(None), *chosen.region)])
            if not np.isfinite(scale).all():
                self._warn(batch, "no valid pixel shows free air")
        elif chosen.by == "monitor":
            scale = np.array([_ratio(reference, monitor) for monitor in monitors], np.float64)
            if not np.isfinite(scale).all():
                self._warn(batch, _lacking(reference, monitors))
        else:
            scale = np.full(len(batch), np.nan)
            if chosen.problem and (reference is not None or any(m is not None for m in monitors)):
                self._warn(batch, chosen.problem)
        return TransmissionScale(
            monitor=np.array([_number(monitor) for monitor in monitors]),
            reference_monitor=np.full(len(batch), _number(reference)),
            scale=scale,
        )

    def _warn(self, batch: PairBatch, problem: str) -> None:
        """Once for each series."""
        name = batch.series.series_id
        if name in self._told:
            return
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told.add(name)
        self._log.warning("transmission is not normalised", series=name, problem=problem)


def _free_air(region: torch.Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    medians = region.flatten(1).nanmedian(dim=1).values.double().cpu().numpy()
    return np.where(medians > 0, 1 / np.where(medians > 0, medians, 1.0), np.nan)


def _ratio(reference: float | None, sample: float | None) -> float:
    before, now = usable(reference), usable(sample)
    return math.nan if before is None or now is None else before / now


def _number(monitor: float | None) -> float:
    return math.nan if monitor is None else monitor


def _lacking(reference: float | None, monitors: list[float | None]) -> str:
    """The first value that cannot be divided by."""
    if usable(reference) is None:
        return f"the reference's monitor value is {_said(reference)}"
    bad = next(monitor for monitor in monitors if usable(monitor) is None)
    return f"a sample's monitor value is {_said(bad)}"


def _said(monitor: float | None) -> str:
    return "not known" if monitor is None else f"{monitor:g}"
