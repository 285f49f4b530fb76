"""A batch of pairs to finished rows: correction, displacement, refraction, phase, back to the host.

`cade run` and `cade process` both come through here.
"""

from __future__ import annotations

import dataclasses
import operator
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from cade import Displacement, Refraction, refraction_angle
from cade.frames import Reference
from cade.phase import PhaseIntegrator
from cade.version import __version__
from daemon.batches import PairBatch
from daemon.correction.correction import Correction
from daemon.correction.transmission import Normaliser
from daemon.recording.results import ResultRows, StageTimes, TransmissionScale, measure_quality
from daemon.recording.scan_header import Parameter, TrackerProvenance
from models import Tracker
from models.focusing import divide_focusing

_UNITS = {"_px": "px", "_m": "m", "_s": "s"}
INTEGRATE_PX = 1 << 22
"""Pixels that are integrated at a time."""


class Processor:
    """Everything between pairing and writing, on the tracker's device."""

    def __init__(
        self,
        tracker: Tracker,
        *,
        remove_tilt: bool = False,
        divide_focusing: bool = False,
        remove_drift: bool = False,
    ) -> None:
        self.tracker = tracker
        self._remove_drift = remove_drift
        self._divide_focusing = divide_focusing
        self._remove_tilt = remove_tilt
        self._integrator: PhaseIntegrator | None = None
        self._reference_of: tuple[Reference, Correction] | None = None
        self._reference = torch.empty(0)
        self._normaliser = Normaliser()

    def process(self, batch: PairBatch) -> ResultRows:
        """Rows for a batch, in its order.

        Raises:
            CadeError: the tracker refuses the frames.
        """
        began = time.monotonic()
        correction, geometry = batch.series.correction, batch.series.geometry
        sample = correction.samples(batch.samples, self.tracker.device)
        displacement = self.tracker.track(self._corrected_reference(batch), sample)
        if self._remove_drift:
            displacement = _without_drift(displacement, batch)
        if self._divide_focusing:
            displacement = divide_focusing(displacement)
        displacement, scale = self._normalised(displacement, batch)
        self._finish_device_work()
        tracked = time.monotonic()
        refraction = phase = None
        if geometry is not None:
            refraction = refraction_angle(displacement, geometry)
            phase = self._integrate(refraction, geometry)
        self._finish_device_work()
        integrated = time.monotonic()
        host = _on_host(displacement)
        rows = ResultRows(
            series_id=batch.series.series_id,
            image_ids=np.array([f.image_id for f in batch.samples], np.int64),
            timestamps_s=np.array([f.timestamp_s for f in batch.samples], np.float64),
            reference_ids=(batch.reference.reference_id,) * len(batch),
            displacement=host,
            refraction=None if refraction is None else _on_host(refraction),
            phase=None if phase is None else phase.cpu().numpy(),
            quality=measure_quality(host),
            times=_NO_TIMES,
            drifts_px=np.array([d or (np.nan, np.nan) for d in batch.drifts_px], np.float32),
            transmission_scale=scale,
            readings=tuple(f.readings for f in batch.samples),
        )
        copied = time.monotonic()
        times = _stage_times(batch, began, tracked, integrated, copied)
        return dataclasses.replace(rows, times=times)

    def _integrate(self, refraction: Refraction[torch.Tensor], geometry: Any) -> torch.Tensor:
        shape = (int(refraction.x_rad.shape[-2]), int(refraction.x_rad.shape[-1]))
        if self._integrator is None or self._integrator.shape != shape:
            self._integrator = PhaseIntegrator(shape, refraction.x_rad.device)
        # As many frames at a time as memory does not notice: transforms need 100 bytes a pixel.
        count = max(1, INTEGRATE_PX // (shape[0] * shape[1]))
        parts = [
            self._integrator(part, geometry, remove_tilt=self._remove_tilt)
            for part in _parts(refraction, count)
        ]
        return torch.cat(parts)

    def _corrected_reference(self, batch: PairBatch) -> torch.Tensor:
        """The batch's reference on the device; copied once, not once a batch."""
        wanted = (batch.reference, batch.series.correction)
        if self._reference_of is None or any(map(operator.is_not, wanted, self._reference_of)):
            correction = batch.series.correction
            self._reference = correction.reference(batch.reference.data, self.tracker.device)
            self._reference_of = wanted
        return self._reference

    def _normalised(
        self, displacement: Displacement[torch.Tensor], batch: PairBatch
    ) -> tuple[Displacement[torch.Tensor], TransmissionScale]:
        """With the transmission against monitor or free air, where either is known."""
        measured = displacement.transmission
        found = self._normaliser.scales(batch, measured)
        if measured is None or not np.isfinite(found.scale).any():
            return displacement, found
        scale = measured.new_tensor(np.nan_to_num(found.scale, nan=1.0))[:, None, None]
        return dataclasses.replace(displacement, transmission=measured * scale), found

    def _finish_device_work(self) -> None:
        """Wait for the GPU, so that each stage is charged with its own time."""
        if self.tracker.device.type == "cuda":
            torch.cuda.synchronize(self.tracker.device)


def _without_drift(
    displacement: Displacement[torch.Tensor], batch: PairBatch
) -> Displacement[torch.Tensor]:
    """Less what moved the whole pattern: a plain difference, which blurs nothing."""
    drifts = displacement.ux_px.new_tensor([drift or (0.0, 0.0) for drift in batch.drifts_px])
    x_px, y_px = drifts[:, 0, None, None], drifts[:, 1, None, None]
    return dataclasses.replace(
        displacement, ux_px=displacement.ux_px - x_px, uy_px=displacement.uy_px - y_px
    )


def _parts(refraction: Refraction[torch.Tensor], count: int) -> Iterator[Refraction[torch.Tensor]]:
    for start in range(0, len(refraction.x_rad), count):
        part = slice(start, start + count)
        yield Refraction(refraction.x_rad[part], refraction.y_rad[part])


_NONE = np.empty(0)
_NO_TIMES = StageTimes(_NONE, _NONE, _NONE, _NONE)


def _stage_times(
    batch: PairBatch, began: float, tracked: float, integrated: float, copied: float
) -> StageTimes:
    count = len(batch)
    return StageTimes(
        waiting_s=began - np.array(batch.arrived_s),
        tracking_s=np.full(count, (tracked - began) / count),
        phase_s=np.full(count, (integrated - tracked) / count),
        copying_s=np.full(count, (copied - integrated) / count),
    )


def _on_host(value: Any) -> Any:
    """A Displacement or Refraction with NumPy arrays."""
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    kind = Displacement if isinstance(value, Displacement) else Refraction
    return kind(**{k: None if v is None else v.cpu().numpy() for k, v in fields.items()})


def tracker_provenance(tracker: Tracker) -> TrackerProvenance:
    """What the result file says about the tracker."""
    provenance = tracker.provenance
    parameters = tuple(
        Parameter(name, value, next((u for s, u in _UNITS.items() if name.endswith(s)), ""))
        for name, value in provenance.parameters.items()
    )
    return TrackerProvenance(
        name=provenance.tracker,
        version=__version__,
        weights_name=provenance.weights or None,
        weights_sha256=provenance.weights_sha256 or None,
        has_sigma=provenance.has_sigma,
        parameters=parameters,
    )
