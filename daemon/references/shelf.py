"""What the store holds, remembered: looked at as often as one likes, read once."""

from __future__ import annotations

from collections import OrderedDict

import structlog

from cade.errors import CadeError
from cade.frames import Reference
from daemon.references.average import Average
from daemon.references.choice import Choice
from daemon.references.conditions import Conditions
from daemon.references.file import ReferenceSummary
from daemon.references.store import ReferenceStore

MOST_LOADED = 4
"""References whose pixels are kept: two that are interpolated, for two detectors."""


class Shelf:
    """The summaries of a store, and the pixels of the references used last. Used by one thread.

    Others may add to and remove from the store; `look` finds it out. What is damaged is logged
    once and passed over. `version` changes with what is there.
    """

    def __init__(self, store: ReferenceStore) -> None:
        self._store = store
        self._summaries: dict[str, ReferenceSummary | None] = {}
        self._loaded: OrderedDict[str, Reference] = OrderedDict()
        self._log = structlog.get_logger(__name__)
        self.version = 0

    @property
    def summaries(self) -> tuple[ReferenceSummary, ...]:
        """The undamaged ones, oldest first; of those of one time, the one kept last comes last."""
        known = [summary for summary in self._summaries.values() if summary is not None]
        return tuple(sorted(known, key=lambda summary: summary.timestamp_s))

    def look(self) -> bool:
        """Look at the store; True where something has come or gone."""
        there = self._store.ids()
        gone, new = self._summaries.keys() - there, there - self._summaries.keys()
        for reference_id in gone:
            del self._summaries[reference_id]
        for reference_id in sorted(new):
            self._summaries[reference_id] = self._read(reference_id)
        self.version += bool(gone or new)
        return bool(gone or new)

    def keep(
        self, average: Average, *, timestamp_s: float, conditions: Conditions, origin: str
    ) -> ReferenceSummary:
        """Store an average; raises as `ReferenceStore.keep`."""
        summary = self._store.keep(
            average, timestamp_s=timestamp_s, conditions=conditions, origin=origin
        )
        self._summaries.pop(summary.reference_id, None)
        self._summaries[summary.reference_id] = summary
        self.version += 1
        return summary

    def reference(self, choice: Choice) -> Reference | None:
        """What a choice means; None where its file turns out damaged, and is passed over now."""
        if choice.reference_id not in self._loaded:
            before = self._load(choice.first)
            if before is None or choice.second is None:
                return before
            after = self._load(choice.second)
            if after is None:
                return None
            self._remember(choice.blend(before, after))
        self._loaded.move_to_end(choice.reference_id)
        return self._loaded[choice.reference_id]

    def _load(self, summary: ReferenceSummary) -> Reference | None:
        if summary.reference_id not in self._loaded:
            try:
                self._remember(self._store.load(summary))
            except CadeError as error:
                self._pass_over(summary.reference_id, error)
                return None
        return self._loaded[summary.reference_id]

    def _remember(self, reference: Reference) -> None:
        self._loaded[reference.reference_id] = reference
        while len(self._loaded) > MOST_LOADED:
            self._loaded.popitem(last=False)

    def _read(self, reference_id: str) -> ReferenceSummary | None:
        try:
            return self._store.summary(reference_id)
        except CadeError as error:
            self._log.warning("reference passed over", problem=str(error))
            return None

    def _pass_over(self, reference_id: str, error: CadeError) -> None:
        self._log.warning("reference passed over", problem=str(error))
        self._summaries[reference_id] = None
        self.version += 1
