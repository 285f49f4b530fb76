"""Which stored reference serves a sample: never across a mismatch, then by time."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cade.frames import Reason, Reference
from daemon.references.conditions import Conditions
from daemon.references.file import ReferenceSummary
from daemon.settings import ReferenceSettings

STEPS = 64
"""Weights of interpolation are rounded to 1/64, so that samples taken together share a batch."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no reference serves a sample."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Choice:
    """`first`, or `(1 − weight) · first + weight · second`.

    `age_s` is the time to the sample, the larger one of two. `provisional`: a later reference may
    serve better.
    """

    first: ReferenceSummary
    age_s: float
    second: ReferenceSummary | None = None
    weight: float = 0.0
    provisional: bool = False

    @property
    def reference_id(self) -> str:
        """Names both, with their weights, where there are two."""
        if self.second is None:
            return self.first.reference_id
        shares = ((1 - self.weight, self.first), (self.weight, self.second))
        return " + ".join(f"{share:.3f}*{part.reference_id}" for share, part in shares)

    def blend(self, first: Reference, second: Reference) -> Reference:
        """The two references interpolated; a pixel that is NaN in one of them is NaN."""
        data = first.data + self.weight * (second.data - first.data)
        timestamp_s = first.timestamp_s + self.weight * (second.timestamp_s - first.timestamp_s)
        count = first.frame_count + second.frame_count
        monitor = None
        if first.monitor is not None and second.monitor is not None:
            monitor = first.monitor + self.weight * (second.monitor - first.monitor)
        return Reference(self.reference_id, data.astype("f4"), count, timestamp_s, monitor)


@dataclass(frozen=True, slots=True)
class Fitting:
    """References that match a series, oldest first, and why there are none where there are none."""

    summaries: tuple[ReferenceSummary, ...]
    refusal: Refusal | None


def fitting(
    summaries: Sequence[ReferenceSummary],
    shape: tuple[int, int],
    conditions: Conditions,
    settings: ReferenceSettings,
) -> Fitting:
    """The references, of those given oldest first, that match frames `(H, W)` = `shape`.

    Where none does, the refusal is about the one that comes nearest, the newest of such.
    """
    if settings.choice == "pinned":
        summaries = [s for s in summaries if s.reference_id == settings.pinned]
    misses: list[tuple[int, Refusal]] = []
    matching = []
    for summary in summaries:
        problem = next(_mismatches(summary, shape, conditions, settings), None)
        if problem is None:
            matching.append(summary)
        else:
            misses.append(problem)
    if matching:
        return Fitting(tuple(matching), None)
    if not misses:
        return Fitting((), _nothing(shape, settings))
    return Fitting((), max(reversed(misses), key=lambda miss: miss[0])[1])


def choose(found: Fitting, time_s: float, settings: ReferenceSettings) -> Choice | Refusal:
    """The choice for a sample taken at `time_s`, POSIX time."""
    if found.refusal is not None:
        return found.refusal
    summaries: Sequence[ReferenceSummary] = found.summaries
    if settings.choice == "pinned":
        return Choice(summaries[0], 0.0)  # who pins a reference knows how old it is
    if settings.max_age_s is not None and settings.when_old == "refuse":
        summaries = [s for s in summaries if abs(s.timestamp_s - time_s) <= settings.max_age_s]
        if not summaries:
            return _too_old(found.summaries, time_s, settings.max_age_s)
    return _by_time(summaries, time_s, settings)


def _by_time(
    summaries: Sequence[ReferenceSummary], time_s: float, settings: ReferenceSettings
) -> Choice:
    place = bisect.bisect_right([s.timestamp_s for s in summaries], time_s)
    before = summaries[place - 1] if place else None
    after = summaries[place] if place < len(summaries) else None
    provisional = after is None and settings.choice in ("nearest", "interpolated")
    if before is None or after is None:
        only = before or summaries[0]
        return Choice(only, abs(time_s - only.timestamp_s), provisional=provisional)
    since_s, until_s = time_s - before.timestamp_s, after.timestamp_s - time_s
    if settings.choice == "nearest" and until_s < since_s:
        return Choice(after, until_s)
    weight = round(since_s / (since_s + until_s) * STEPS) / STEPS
    if settings.choice != "interpolated" or weight == 0:
        return Choice(before, since_s)
    if weight == 1:
        return Choice(after, until_s)
    return Choice(before, max(since_s, until_s), after, weight)


def _mismatches(
    summary: ReferenceSummary,
    shape: tuple[int, int],
    wanted: Conditions,
    settings: ReferenceSettings,
) -> Iterator[tuple[int, Refusal]]:
    """What keeps a reference from serving; the later in this order, the nearer it comes.

    What is not known on one side is no mismatch.
    """
    name, has = summary.reference_id, summary.conditions
    if summary.shape != shape:
        sizes = " x ".join(map(str, summary.shape)), " x ".join(map(str, shape))
        detail = f"reference {name} has {sizes[0]} pixels, the sample {sizes[1]}"
        yield 0, Refusal(Reason.REFERENCE_SHAPE, detail)
    if has.detector and wanted.detector and has.detector != wanted.detector:
        detail = f"reference {name} is of detector {has.detector}, the sample of {wanted.detector}"
        yield 1, Refusal(Reason.REFERENCE_DETECTOR, detail)
    relative = (
        (Reason.REFERENCE_ENERGY, "energy_ev", settings.energy_tolerance),
        (Reason.REFERENCE_EXPOSURE, "exposure_s", settings.exposure_tolerance),
        (Reason.REFERENCE_DISTANCE, "distance_m", settings.distance_tolerance),
        (Reason.REFERENCE_DISTANCE, "source_distance_m", settings.distance_tolerance),
    )
    for rank, (reason, field, tolerance) in enumerate(relative, start=2):
        one, other = getattr(has, field), getattr(wanted, field)
        if _differ(one, other, tolerance):
            yield rank, Refusal(reason, _differing(name, field, one, other))
    one, other = has.diffuser_m, wanted.diffuser_m
    if one is not None and other is not None and abs(one - other) > settings.diffuser_tolerance_m:
        yield 9, Refusal(Reason.REFERENCE_DIFFUSER, _differing(name, "diffuser_m", one, other))


def _differ(one: float | None, other: float | None, tolerance: float) -> bool:
    """By more than the tolerance of the larger one; both may be infinite (a parallel beam)."""
    if one is None or other is None:
        return False
    return not math.isclose(one, other, rel_tol=tolerance)


def _differing(name: str, field: str, one: float | None, other: float | None) -> str:
    return f"reference {name} has {field} = {one:.9g}, the sample {other:.9g}"


def _nothing(shape: tuple[int, int], settings: ReferenceSettings) -> Refusal:
    if settings.choice == "pinned":
        detail = f"the pinned reference {settings.pinned} is not in the store: add or change it"
    else:
        rows, columns = shape
        detail = (
            f"there is no reference of {rows} x {columns} pixels yet: take one, or add one with "
            "'cade references add'"
        )
    return Refusal(Reason.NO_REFERENCE, detail)


def _too_old(summaries: Sequence[ReferenceSummary], time_s: float, max_age_s: float) -> Refusal:
    nearest = min(summaries, key=lambda s: abs(s.timestamp_s - time_s))
    age_s = abs(nearest.timestamp_s - time_s)
    return Refusal(
        Reason.REFERENCE_OLD,
        f"reference {nearest.reference_id} is {age_s:.0f} s from the sample, more than "
        f"max_age_s = {max_age_s:g}",
    )
