"""A sample and the reference it is tracked against, or why there is none."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from cade.frames import Frame, FramePair, Reason, Reference
from daemon.accounting import Account
from daemon.batches import SeriesOpened
from daemon.references.average import Average
from daemon.references.choice import Choice, Fitting, Refusal, choose, fitting
from daemon.references.conditions import Conditions, known_conditions
from daemon.references.drift import Drift, measure_drift
from daemon.references.file import ReferenceSummary
from daemon.references.shelf import Shelf
from daemon.references.store import ReferenceStore
from daemon.series import Series
from daemon.settings import Settings


class Matcher:
    """Chooses references by the settings, and measures the drift since. Used by one thread.

    A reference that differs from the sample in shape, detector, energy, exposure, distances or
    the diffuser's position never serves. One that is old or drifted does unless `when_old` and
    `when_drifted` say otherwise; `count` and `warn` are counted as doubts in the account.
    """

    def __init__(self, settings: Settings, store: ReferenceStore, account: Account) -> None:
        self._settings, self._geometry = settings.references, settings.geometry
        self._shelf, self._account = Shelf(store), account
        self._found: tuple[SeriesOpened, int, Fitting] | None = None
        self._told: set[tuple[str, Reason]] = set()
        self._log = structlog.get_logger(__name__)

    def look(self) -> bool:
        """Look for references that others have added or removed; True where there are such."""
        return self._shelf.look()

    def keep(self, average: Average, series: Series, timestamp_s: float) -> ReferenceSummary:
        """Store the average of a series' references; raises as `ReferenceStore.keep`."""
        return self._shelf.keep(
            average,
            timestamp_s=timestamp_s,
            conditions=known_conditions(self._geometry, series.beamline),
            origin=f"series {series.start.series_id}",
        )

    def match(
        self, series: SeriesOpened, time_s: float, load: Callable[[], Frame], *, last: bool
    ) -> FramePair | Refusal:
        """The pair, or why there is none yet.

        Args:
            series: what the sample belongs to.
            time_s: when it was taken.
            load: gives the sample; called only where there is a reference for it.
            last: nothing better will come: an earlier reference serves alone where a later one
                might have been nearer.

        Raises:
            CadeError: the sample cannot be loaded.
        """
        while True:
            choice = choose(self._fitting(series), time_s, self._settings)
            if isinstance(choice, Refusal):
                return choice
            if choice.provisional and not last:
                return Refusal(Reason.NO_REFERENCE, "there is no reference after the sample yet")
            reference = self._shelf.reference(choice)
            if reference is not None:
                return self._paired(series, choice, reference, load())

    def _fitting(self, series: SeriesOpened) -> Fitting:
        """What matches the series; found out anew where the store has changed."""
        version = self._shelf.version
        if self._found is None or self._found[0] is not series or self._found[1] != version:
            conditions: Conditions = known_conditions(self._geometry, series.beamline)
            summaries = self._shelf.summaries
            found = fitting(summaries, series.shape, conditions, self._settings)
            self._found = series, version, found
        return self._found[2]

    def _paired(
        self, series: SeriesOpened, choice: Choice, reference: Reference, frame: Frame
    ) -> FramePair | Refusal:
        settings, drift = self._settings, None
        if settings.max_drift_px is not None or settings.remove_drift:
            image = series.correction.detector.limits.marked(frame)
            drift = measure_drift(reference.data, image, series.correction)
            problem = self._drifted(drift, reference)
            if problem is not None and settings.when_drifted == "refuse":
                return problem
            if problem is not None:
                self._doubt(series, problem, warn=settings.when_drifted == "warn")
        if settings.max_age_s is not None and choice.age_s > settings.max_age_s:
            detail = f"reference {reference.reference_id} is {choice.age_s:.0f} s from the sample"
            problem = Refusal(Reason.REFERENCE_OLD, detail)
            self._doubt(series, problem, warn=settings.when_old == "warn")
        moved = (drift.x_px, drift.y_px) if drift is not None and drift.clear else None
        return FramePair(frame, reference, moved)

    def _drifted(self, drift: Drift, reference: Reference) -> Refusal | None:
        """What is wrong; without a limit there is nothing wrong."""
        most_px, name = self._settings.max_drift_px, reference.reference_id
        if most_px is None or (drift.clear and drift.length_px <= most_px):
            return None
        if not drift.clear:
            detail = f"the sample shows nothing of the pattern of reference {name}"
        else:
            detail = (
                f"the pattern has moved by ({drift.x_px:.2f}, {drift.y_px:.2f}) px since reference "
                f"{name}, more than max_drift_px = {most_px:g}"
            )
        return Refusal(Reason.REFERENCE_DRIFTED, detail)

    def _doubt(self, series: SeriesOpened, problem: Refusal, *, warn: bool) -> None:
        """Count it; log it once for each series where that is wanted."""
        self._account.doubt(problem.reason)
        key = (series.series_id, problem.reason)
        if warn and key not in self._told:
            self._told.add(key)
            self._log.warning(
                "doubtful reference",
                series=series.series_id,
                reason=problem.reason,
                detail=problem.detail,
            )

    def forget(self, series_id: str) -> None:
        """A series is over."""
        self._told = {key for key in self._told if key[0] != series_id}
