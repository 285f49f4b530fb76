"""Pairing: which frame is what, is it usable, and against which reference is it tracked."""

from __future__ import annotations

import time
from collections.abc import Iterator

import structlog

from cade.errors import CadeError
from cade.frames import (
    Event,
    Frame,
    FramePair,
    Reason,
    Reference,
    Rejected,
    Role,
    SeriesEnd,
    SeriesStart,
)
from daemon.accounting import Account
from daemon.batches import Batcher, SeriesClosed, SeriesOpened, ToTracker
from daemon.checks import check_content, reject
from daemon.corrections import Correction, make_correction
from daemon.reference_average import RunningAverage
from daemon.references import ReferenceStore
from daemon.series import Series
from daemon.settings import Settings


class Pairing:
    """Turns the sources' events into batches of pairs, in order. Used by one thread.

    Frames of role reference are averaged until the first sample frame, or the end of their series;
    the average goes to the store and serves from then on. Flats and darks likewise make the
    correction. Nothing leaves without being counted.
    """

    def __init__(self, settings: Settings, store: ReferenceStore, account: Account) -> None:
        self._settings, self._store, self._account = settings, store, account
        self._batcher = Batcher(settings.batch.size, settings.batch.wait_s)
        self._series: dict[str, Series] = {}
        self._reference: Reference | None = None
        self._flat: Reference | None = None
        self._dark: Reference | None = None
        self._count = 0
        self._log = structlog.get_logger(__name__)

    def take(self, event: Event) -> Iterator[ToTracker]:
        """What an event leads to."""
        match event:
            case SeriesStart():
                yield from self._start(event)
            case SeriesEnd():
                yield from self._end(event.series_id)
            case Rejected():
                self._account.receive()
                yield from self._reject(event)
            case Frame():
                self._account.receive()
                yield from self._frame(event)

    def flush(self) -> Iterator[ToTracker]:
        """The batch that has waited long enough."""
        yield from self._batcher.flush()

    def due_in_s(self) -> float | None:
        """Time until `flush` is due; None where nothing waits."""
        return self._batcher.due_in_s()

    def finish(self) -> Iterator[ToTracker]:
        """End every open series: the daemon stops."""
        for series_id in list(self._series):
            yield from self._end(series_id)

    def _start(self, start: SeriesStart) -> Iterator[ToTracker]:
        if start.series_id in self._series:
            yield from self._end(start.series_id)
        self._count += 1
        known = int(start.series_id) if start.series_id.isdecimal() else self._count
        self._series[start.series_id] = Series(start, min(known, 999_999_999))
        self._log.info("series started", series=start.series_id, role=start.role)

    def _end(self, series_id: str) -> Iterator[ToTracker]:
        series = self._series.pop(series_id, None)
        if series is None:
            return
        yield from self._keep_averages(series)
        yield from self._batcher.flush()
        yield SeriesClosed(series_id)
        self._log.info("series ended", series=series_id)

    def _reject(self, rejected: Rejected) -> Iterator[ToTracker]:
        self._account.reject(rejected.reason)
        yield from self._batcher.flush()  # rows and rejections stay in the order of arrival
        yield rejected

    def _frame(self, frame: Frame) -> Iterator[ToTracker]:
        series = self._series.get(frame.series_id)
        if series is None:
            detail = f"image of series {frame.series_id!r}, which is not open"
            yield from self._reject(reject(frame, Reason.NO_SERIES, detail))
            return
        problem = series.check(frame) or check_content(frame, self._settings.checks)
        if problem is not None:
            yield from self._reject(problem)
            return
        role = frame.role or series.start.role or self._settings.roles.default
        if role is Role.SAMPLE:
            yield from self._sample(series, frame)
        else:
            series.averages.setdefault(role, RunningAverage()).add(frame.data)
            self._account.keep()

    def _sample(self, series: Series, frame: Frame) -> Iterator[ToTracker]:
        if series.averages:
            yield from self._keep_averages(series)
        if series.opened is None:
            series.opened = self._open(series, frame)
            yield series.opened
        pair = self._pair(frame)
        if isinstance(pair, Rejected):
            yield from self._reject(pair)
            return
        yield from self._batcher.add(series.opened, pair)

    def _pair(self, frame: Frame) -> FramePair | Rejected:
        shape = (frame.data.shape[0], frame.data.shape[1])
        if self._reference is None or self._reference.data.shape != shape:
            stored = self._store.latest(shape)
            if stored is None and self._reference is not None:
                detail = f"shape is {shape}, the reference has {self._reference.data.shape}"
                return reject(frame, Reason.WRONG_SHAPE, detail)
            self._reference = stored
        if self._reference is None:
            detail = "no reference yet: take one, or add one with 'cade references add'"
            return reject(frame, Reason.NO_REFERENCE, detail)
        return FramePair(frame, self._reference)

    def _open(self, series: Series, frame: Frame) -> SeriesOpened:
        geometry = self._settings.geometry.resolve(series.beamline)
        if geometry is None:
            missing = ", ".join(self._settings.geometry.missing(series.beamline))
            self._log.warning(
                f"no phase for this series: geometry.{missing} neither set nor in the metadata",
                series=series.start.series_id,
            )
        return SeriesOpened(
            series_id=series.start.series_id,
            number=series.number,
            start_time_s=series.start.start_time_s or time.time(),
            shape=(frame.data.shape[0], frame.data.shape[1]),
            geometry=geometry,
            beamline=series.beamline,
            correction=self._correction(frame),
        )

    def _correction(self, frame: Frame) -> Correction:
        """What flats and darks of the sample's shape make; others do not apply."""
        flat, dark = (
            r.data if r is not None and r.data.shape == frame.data.shape else None
            for r in (self._flat, self._dark)
        )
        try:
            return make_correction(flat, dark)
        except CadeError as error:
            self._log.error("frames are not corrected", problem=str(error))
            return Correction()

    def _keep_averages(self, series: Series) -> Iterator[ToTracker]:
        """References, flats and darks seen so far become the ones in use."""
        yield from self._batcher.flush()
        averages, series.averages = series.averages, {}
        for role, average in averages.items():
            if role is Role.REFERENCE:
                self._reference = self._store.keep(
                    average.result(),
                    detector=series.start.series_id,
                    timestamp_s=series.start.start_time_s or time.time(),
                    origin=f"series {series.start.series_id}",
                )
                name = self._reference.reference_id
            else:
                name = f"{role}-{series.start.series_id}"
                kept = Reference(name, average.result().mean, average.count, time.time())
                if role is Role.FLAT:
                    self._flat = kept
                else:
                    self._dark = kept
            self._log.info(f"{role} ready", name=name, frames=average.count)
