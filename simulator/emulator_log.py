"""What an emulated detector has sent, and what an exact receiver makes of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Self

from cade.frames import NOT_NEW, Reason, Role
from simulator.stream_traits import STREAM_TRAITS, Damage

UNKNOWN_ID = -1


@dataclass(frozen=True, slots=True)
class Expected:
    """The account of a receiver that loses nothing by itself.

    `received` = `good` + all of `rejected`; `good` are written as rows, or kept as references,
    flats and darks. `missing` never came, or came so broken that nobody can tell which it was.
    """

    received: int
    good: int
    rejected: Mapping[Reason, int]
    missing: int

    def __add__(self, other: Expected) -> Expected:
        return Expected(
            self.received + other.received,
            self.good + other.good,
            Counter(self.rejected) + Counter(other.rejected),
            self.missing + other.missing,
        )


@dataclass(slots=True)
class SeriesLog:
    """One series as it was sent, filled while it is; all numbers are image ids.

    Attributes:
        wire_format: of the stream.
        series_id: as the emulator names it.
        role: what the stream says of the images, None for nothing.
        images: images that the detector took, and announced where the format can.
        sent: whole images, in the order of sending; of a duplicate the first.
        dropped: never sent.
        duplicated: sent a second time.
        reordered: sent behind the next one.
        truncated: their messages were cut.
        corrupted: their messages were damaged, and how.
        wrong_shape: sent in another shape.
        stalled: a pause came behind these.
        stray_series: behind which image one of another series came.
        strays: sent after the end.
        rejections: what a receiver refuses, in the order of sending: image id, -1 where the message
            no longer tells it, and reason.
    """

    wire_format: str
    series_id: str
    role: Role | None
    images: int
    sent: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    duplicated: list[int] = field(default_factory=list)
    reordered: list[int] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)
    corrupted: list[tuple[int, Damage]] = field(default_factory=list)
    wrong_shape: list[int] = field(default_factory=list)
    stalled: list[int] = field(default_factory=list)
    stray_series: list[int] = field(default_factory=list)
    strays: list[int] = field(default_factory=list)
    rejections: list[tuple[int, Reason]] = field(default_factory=list)

    def reject(self, image_id: int, reason: Reason) -> None:
        """Note what a receiver will refuse."""
        self.rejections.append((image_id, reason))

    def reject_broken(self, image_id: int, way: Damage) -> None:
        """Note a broken message, which may still tell which image it was."""
        survives = way in STREAM_TRAITS[self.wire_format].id_survives
        self.reject(image_id if survives else UNKNOWN_ID, Reason.MALFORMED)

    def expected(self) -> Expected:
        """What an exact receiver counts of this series."""
        refused = Counter(reason for _, reason in self.rejections)
        received = len(self.sent) + refused.total()
        return Expected(received, len(self.sent), refused, self._missing())

    def _missing(self) -> int:
        """As far as a receiver can know: by the announced number, or else below the highest id."""
        traits = STREAM_TRAITS[self.wire_format]
        if traits.lossy:
            return 0
        known = {n for n, reason in self.rejections if n != UNKNOWN_ID and reason not in NOT_NEW}
        known.update(self.sent)
        return (self.images if traits.announced else max(known) + 1) - len(known)

    def to_json(self) -> str:
        """One line."""
        expected = self.expected()
        content = {one.name: getattr(self, one.name) for one in fields(self)}
        content["expected"] = {one.name: getattr(expected, one.name) for one in fields(expected)}
        return json.dumps(content)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """What `to_json` has made."""
        content = json.loads(line)
        del content["expected"]
        content["role"] = content["role"] and Role(content["role"])
        content["corrupted"] = [(image_id, way) for image_id, way in content["corrupted"]]
        content["rejections"] = [(number, Reason(name)) for number, name in content["rejections"]]
        return cls(**content)


def total(logs: Iterable[SeriesLog]) -> Expected:
    """The account of all series together."""
    return sum((log.expected() for log in logs), Expected(0, 0, Counter(), 0))
