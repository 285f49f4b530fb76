"""Pairing: which frame is what, is it usable, and against which reference is it tracked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import structlog

from cade.errors import CadeError
from cade.frames import (
    Event,
    Frame,
    FramePair,
    Image,
    Reason,
    Reference,
    Rejected,
    Role,
    SeriesEnd,
    SeriesStart,
)
from cade.geometry import Geometry
from daemon.accounting import Account
from daemon.batches import Batcher, SeriesClosed, SeriesOpened, ToTracker
from daemon.checks import check_content, reject
from daemon.corrections import Correction, make_correction
from daemon.reference_average import RunningAverage
from daemon.references import ReferenceStore
from daemon.series import Series
from daemon.settings import Settings
from daemon.stated_time import plausible_time_s

MOST_NUMBER = 999_999_999
"""Largest series number: detectors may name a series by any long number."""


class Pairing:
    """Turns the sources' events into batches of pairs, in order. Used by one thread.

    Frames of role reference are averaged until the first sample frame, or the end of their series;
    the average goes to the store and serves from then on, until the store has a newer one when a
    series begins. Flats and darks likewise make the correction, of a whole series: what comes
    after its first sample counts from the next one. Nothing leaves without being counted.
    """

    def __init__(self, settings: Settings, store: ReferenceStore, account: Account) -> None:
        self._settings, self._store, self._account = settings, store, account
        self._batcher = Batcher(settings.batch.size, settings.batch.wait_s)
        self._series: dict[str, Series] = {}
        self._references: dict[tuple[int, ...], Reference] = {}
        self._flat: Image | None = None
        self._dark: Image | None = None
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
                if event.series_id in self._series:
                    self._series[event.series_id].see(event)
                yield from self._reject(event)
            case Frame():
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
        start = dataclasses.replace(start, start_time_s=plausible_time_s(start.start_time_s))
        self._series[start.series_id] = Series(start, min(known, MOST_NUMBER))
        self._log.info("series started", series=start.series_id, role=start.role)

    def _end(self, series_id: str) -> Iterator[ToTracker]:
        series = self._series.pop(series_id, None)
        if series is None:
            return
        yield from self._keep_averages(series)
        yield from self._batcher.flush()
        yield SeriesClosed(series_id)
        self._log.info("series ended", series=series_id, images=series.seen)
        if series.missing:
            self._account.miss(series.missing)
            self._log.warning("images are missing", series=series_id, missing=series.missing)

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
        series.see(frame)
        role = frame.role or series.start.role or self._settings.roles.default
        problem = series.check(frame) or check_content(frame, self._settings.checks, role)
        if problem is not None:
            yield from self._reject(problem)
            return
        if frame.timestamp_s != plausible_time_s(frame.timestamp_s):
            frame = dataclasses.replace(frame, timestamp_s=plausible_time_s(None))
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
            self._look_for_newer(series.opened.shape)
            yield series.opened
        reference = self._references.get(frame.data.shape)
        if reference is None:
            for other in self._series.values():  # one that is still being averaged will do
                yield from self._keep_averages(other)
            reference = self._look_for_newer(series.opened.shape)
        if reference is None:
            rows, columns = series.opened.shape
            detail = (
                f"there is no reference of {rows} x {columns} pixels yet: take one, or add one "
                "with 'cade references add'"
            )
            yield from self._reject(reject(frame, Reason.NO_REFERENCE, detail))
            return
        yield from self._batcher.add(series.opened, FramePair(frame, reference))

    def _look_for_newer(self, shape: tuple[int, int]) -> Reference | None:
        """The store's newest reference, where it is newer than the one in use."""
        used, stored = self._references.get(shape), self._store.latest(shape)
        if stored is not None and (used is None or stored.timestamp_s > used.timestamp_s):
            self._references[shape] = stored
            self._log.info("reference from the store", name=stored.reference_id)
        return self._references.get(shape)

    def _open(self, series: Series, frame: Frame) -> SeriesOpened:
        return SeriesOpened(
            series_id=series.start.series_id,
            number=series.number,
            start_time_s=series.start.start_time_s,
            shape=(frame.data.shape[0], frame.data.shape[1]),
            geometry=self._geometry(series),
            beamline=series.beamline,
            correction=self._correction(frame),
        )

    def _geometry(self, series: Series) -> Geometry | None:
        """None, and a word in the log, where phase cannot be computed."""
        wanted = self._settings.geometry
        try:
            geometry = wanted.resolve(series.beamline)
        except CadeError as error:  # the detector states something that cannot be
            problem, geometry = str(error), None
        else:
            names = ", ".join(f"geometry.{name}" for name in wanted.missing(series.beamline))
            problem = f"{names}: neither set nor in the metadata"
        if geometry is None:
            self._log.warning(
                "no refraction and phase for this series",
                series=series.start.series_id,
                problem=problem,
            )
        return geometry

    def _correction(self, frame: Frame) -> Correction:
        """What flats and darks of the sample's shape make; others do not apply."""
        flat, dark = (
            image if image is not None and image.shape == frame.data.shape else None
            for image in (self._flat, self._dark)
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
                reference = self._store.keep(
                    average.result(),
                    detector="",
                    timestamp_s=series.start.start_time_s,
                    origin=f"series {series.start.series_id}",
                )
                self._references[reference.data.shape] = reference
            elif role is Role.FLAT:
                self._flat = average.result().mean
            else:
                self._dark = average.result().mean
            self._log.info(f"{role} ready", series=series.start.series_id, frames=average.count)
