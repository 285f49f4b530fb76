"""Pairing: which frame is what, is it usable, and against which reference is it tracked."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import structlog

from cade.errors import CadeError
from cade.frames import Event, Frame, FramePair, Reason, Rejected, Role, SeriesEnd, SeriesStart
from daemon.accounting import Account
from daemon.batches import Batcher, SeriesClosed, SeriesOpened, ToTracker
from daemon.checks import check_content, reject
from daemon.opening import Opening
from daemon.references.average import RunningAverage
from daemon.references.choice import Refusal
from daemon.references.matcher import Matcher
from daemon.references.screen import ScreenedAverage
from daemon.references.store import ReferenceStore
from daemon.references.waiting_frames import Held, WaitingFrames
from daemon.series import Series
from daemon.settings import Settings
from daemon.stated_time import plausible_time_s

MOST_NUMBER = 999_999_999
"""Largest series number: detectors may name a series by any long number."""
LOOK_S = 1.0
"""While samples wait, the store is looked at this often: a reference may be added by hand."""


class Pairing:
    """Turns the sources' events into batches of pairs, in order. Used by one thread.

    Frames of role reference are averaged until the first sample frame, or the end of their series;
    the average goes to the store, from which each sample gets the one that `references.choice`
    says. Samples for which there is none wait, also beyond the end of their series, whose file
    then stays open. Flats and darks are averaged likewise and make the correction, of a whole
    series: what comes after its first sample counts from the next one. Nothing leaves without
    being counted.
    """

    def __init__(self, settings: Settings, store: ReferenceStore, account: Account) -> None:
        wanted = settings.references
        self._settings, self._account = settings, account
        self._batcher = Batcher(settings.batch.size, settings.batch.wait_s)
        self._matcher = Matcher(settings, store, account)
        self._opening = Opening(settings)
        self._waiting = WaitingFrames(
            wanted.wait_memory_bytes, wanted.wait_spool_bytes, wanted.spool or wanted.path
        )
        self._series: dict[str, Series] = {}
        self._ended: dict[str, Series] = {}  # whose samples wait
        self._names: dict[str, str] = {}
        self.last_reference: tuple[str, float] | None = None  # its id, and when it was taken
        self._looked_s = 0.0
        self._count = 0
        self._log = structlog.get_logger(__name__)

    def take(self, event: Event) -> Iterator[ToTracker]:
        """What an event leads to."""
        if event.series_id in self._names and not isinstance(event, SeriesStart):
            event = dataclasses.replace(event, series_id=self._names[event.series_id])
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
        if self._look_due_in_s() == 0:
            yield from self._attend()

    def flush(self) -> Iterator[ToTracker]:
        """What has waited long enough: a batch, or samples without a reference."""
        yield from self._batcher.flush()
        if self._look_due_in_s() == 0:
            yield from self._attend()

    def due_in_s(self) -> float | None:
        """Time until `flush` is due; None where nothing waits."""
        due = [s for s in (self._batcher.due_in_s(), self._look_due_in_s()) if s is not None]
        return min(due, default=None)

    def finish(self) -> Iterator[ToTracker]:
        """End every open series: the daemon stops."""
        for series_id in list(self._series):
            yield from self._end(series_id)
        for series in list(self._ended.values()):
            yield from self._give_up(series)

    def _start(self, start: SeriesStart) -> Iterator[ToTracker]:
        name = self._names.get(start.series_id, start.series_id)
        if name in self._series:
            yield from self._end(name)
        self._count += 1
        known = int(start.series_id) if start.series_id.isdecimal() else self._count
        start = self._renamed(start)
        start = dataclasses.replace(start, start_time_s=plausible_time_s(start.start_time_s))
        self._series[start.series_id] = Series(start, min(known, MOST_NUMBER))
        self._account.series.begin(start.series_id)
        self._log.info("series started", series=start.series_id, role=start.role)

    def _renamed(self, start: SeriesStart) -> SeriesStart:
        """Under another name where samples of an earlier series of this one still wait."""
        name, again = start.series_id, 1
        while name in self._ended:
            again += 1
            name = f"{start.series_id} ({again})"
        if again > 1:
            self._names[start.series_id] = name
        return dataclasses.replace(start, series_id=name)

    def _end(self, series_id: str) -> Iterator[ToTracker]:
        series = self._series.pop(series_id, None)
        if series is None:
            return
        self._names = {old: new for old, new in self._names.items() if new != series_id}
        self._ended[series_id] = series
        series.touched_s = time.monotonic()
        yield from self._keep_averages(series)
        self._log.info("series ended", series=series_id, images=series.seen)
        if series.missing:
            self._account.miss(series.missing)
            self._log.warning(
                "images are missing",
                series=series_id,
                missing=series.missing,
                ids=series.missing_ids,
            )
        yield from self._close_if_done(series)
        if series_id in self._ended:
            count = len(self._waiting.of(series_id))
            self._log.info("samples wait for a reference", series=series_id, images=count)

    def _close_if_done(self, series: Series) -> Iterator[ToTracker]:
        """Close a series that has ended and of which nothing waits."""
        name = series.start.series_id
        if name in self._ended and not self._waiting.of(name):
            del self._ended[name]
            yield from self._batcher.flush()
            yield SeriesClosed(name)
            self._matcher.forget(name)

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
        series.touched_s = time.monotonic()
        if frame.role is None and series.start.role is None and series.start.role_problem:
            detail = series.start.role_problem
            yield from self._reject(reject(frame, Reason.NO_ROLE, detail))
            return
        role = frame.role or series.start.role or self._settings.roles.default
        detector = self._opening.detector(series)
        problem = series.check(frame) or check_content(frame, self._settings.checks, role, detector)
        if problem is not None:
            yield from self._reject(problem)
            return
        if frame.timestamp_s != plausible_time_s(frame.timestamp_s):
            frame = dataclasses.replace(frame, timestamp_s=plausible_time_s(None))
        if role is Role.SAMPLE:
            yield from self._sample(series, frame)
        elif role is Role.REFERENCE:
            yield from self._reference(series, frame)
        else:
            series.averages.setdefault(role, RunningAverage()).add(detector.limits.marked(frame))
            self._account.keep()

    def _reference(self, series: Series, frame: Frame) -> Iterator[ToTracker]:
        if series.reference is None:
            series.reference, series.reference_time_s = ScreenedAverage(), frame.timestamp_s
        self._account.keep()
        image = self._opening.detector(series).limits.marked(frame)
        for odd in series.reference.add(image, str(frame.image_id), frame.monitor):
            self._account.leave_out()
            name = series.start.series_id
            yield from self._batcher.flush()
            yield Rejected(name, int(odd.name), Reason.OUTLIER, odd.detail, frame.origin)

    def _sample(self, series: Series, frame: Frame) -> Iterator[ToTracker]:
        yield from self._keep_averages(series)
        if series.opened is None:
            series.opened = self._opening.open(series, frame)
            self._matcher.look()
            yield series.opened
        may_wait = self._settings.references.wait_s > 0
        found = self._match(series.opened, frame, last=not may_wait)
        if isinstance(found, Refusal) and not may_wait:
            for other in list(self._series.values()):  # one that is still being averaged will do
                yield from self._keep_averages(other)
        if isinstance(found, Refusal):
            self._matcher.look()
            found = self._match(series.opened, frame, last=not may_wait)
        if isinstance(found, Refusal) and may_wait:
            problem = self._waiting.hold(frame)
            if not problem:
                self._account.hold()
                return
            found = self._match(series.opened, frame, last=True)
            if isinstance(found, Refusal):
                found = Refusal(Reason.NO_ROOM, f"{found.detail}; {problem}")
        yield from self._settle(series.opened, frame, found)

    def _match(self, opened: SeriesOpened, frame: Frame, *, last: bool) -> FramePair | Refusal:
        return self._matcher.match(opened, frame.timestamp_s, lambda: frame, last=last)

    def _settle(
        self, opened: SeriesOpened, frame: Frame, found: FramePair | Refusal
    ) -> Iterator[ToTracker]:
        if isinstance(found, Refusal):
            yield from self._reject(reject(frame, found.reason, found.detail))
        else:
            self.last_reference = found.reference.reference_id, found.reference.timestamp_s
            yield from self._batcher.add(opened, found)

    def _look_due_in_s(self) -> float | None:
        """Time until the store is looked at for the samples that wait; None where none waits."""
        if not len(self._waiting):
            return None
        return max(0.0, self._looked_s + LOOK_S - time.monotonic())

    def _attend(self) -> Iterator[ToTracker]:
        """Samples wait: has a reference come by hand, or have they waited long enough?"""
        self._looked_s = time.monotonic()
        if self._matcher.look():
            yield from self._release()
        too_early_s = self._looked_s - self._settings.references.wait_s
        for series in [*self._ended.values(), *self._series.values()]:
            if series.touched_s <= too_early_s:
                yield from self._give_up(series)

    def _release(self) -> Iterator[ToTracker]:
        """There are new references: samples that have waited for them go on."""
        for series in [*self._ended.values(), *self._series.values()]:
            for held in self._waiting.of(series.start.series_id):
                yield from self._try(series, held, last=False)
            yield from self._close_if_done(series)

    def _give_up(self, series: Series) -> Iterator[ToTracker]:
        """What waits goes on with what there is, or is rejected."""
        for held in self._waiting.of(series.start.series_id):
            yield from self._try(series, held, last=True)
        yield from self._close_if_done(series)

    def _try(self, series: Series, held: Held, *, last: bool) -> Iterator[ToTracker]:
        if series.opened is None:  # nothing waits of a series without samples
            return
        found: FramePair | Refusal
        try:
            found = self._matcher.match(
                series.opened, held.frame.timestamp_s, lambda: self._waiting.load(held), last=last
            )
        except CadeError as error:
            found, last = Refusal(Reason.UNREADABLE, str(error)), True
        if last or not isinstance(found, Refusal):
            self._waiting.drop(held)
            self._account.release()
            yield from self._settle(series.opened, held.frame, found)

    def _keep_averages(self, series: Series) -> Iterator[ToTracker]:
        """References, flats and darks seen so far become the ones in use."""
        name = series.start.series_id
        averages, series.averages = series.averages, {}
        for role, average in averages.items():
            self._opening.keep(role, average.result())
            self._log.info(f"{role} ready", series=name, frames=average.count)
        reference, series.reference = series.reference, None
        if reference is None or reference.count == 0:
            return
        yield from self._batcher.flush()
        summary = self._matcher.keep(reference.result(), series, series.reference_time_s)
        self._log.info(
            "reference ready",
            series=name,
            frames=summary.frame_count,
            left_out=list(summary.left_out),
            name=summary.reference_id,
        )
        yield from self._release()
