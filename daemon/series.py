"""One series while it runs: its role, its form, and the frames that are being averaged."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field

import numpy as np

from cade.frames import NOT_NEW, Beamline, Frame, Rejected, Role, SeriesStart
from daemon.batches import SeriesOpened
from daemon.checks import check_form
from daemon.correction.detector import Detector
from daemon.image_ids import ImageIds
from daemon.references.average import RunningAverage
from daemon.references.screen import ScreenedAverage

MOST_GAPS = 20
"""So many gaps in the image ids are named in the log."""


@dataclass(slots=True)
class Series:
    """What pairing remembers of an open series; changed by the pairing thread alone.

    `opened` is set with the first sample frame: only then a result file makes sense. `averages` are
    of flats and darks, `reference` is that of references, the first of which was taken at
    `reference_time_s`. `touched_s` is the monotonic time of the last frame, or of the end.
    """

    start: SeriesStart
    number: int
    shape: tuple[int, int] | None = None
    dtype: np.dtype[np.generic] | None = None
    opened: SeriesOpened | None = None
    averages: dict[Role, RunningAverage] = field(default_factory=dict)
    reference: ScreenedAverage | None = None
    reference_time_s: float = 0.0
    detector: Detector | None = None
    touched_s: float = field(default_factory=time.monotonic)
    ids: ImageIds = field(default_factory=ImageIds)

    @property
    def beamline(self) -> Beamline:
        """What the detector said about the optics."""
        return self.start.beamline

    def see(self, event: Frame | Rejected) -> None:
        """Remember the image id of what has come, where it is known and new."""
        if event.image_id < 0 or (isinstance(event, Rejected) and event.reason in NOT_NEW):
            return
        self.ids.add(event.image_id)

    @property
    def seen(self) -> int:
        """How many different images have come."""
        return len(self.ids)

    @property
    def missing(self) -> int:
        """Images that were announced, or lie before the last one, and have not come.

        A broken message whose id is unknown leaves its image missing as well. A live view leaves
        images out, so there only an announced count tells.
        """
        return max(0, self._expected - self.seen)

    @property
    def missing_ids(self) -> str:
        """Their ids for people, as `3, 17-19`; empty for a live view, where nobody knows them."""
        if self.start.lossy:
            return ""
        gaps = itertools.islice(self.ids.gaps(self._expected), MOST_GAPS + 1)
        texts = [str(a) if a == b else f"{a}-{b}" for a, b in gaps]
        return ", ".join([*texts[:MOST_GAPS], *(["..."] if len(texts) > MOST_GAPS else [])])

    @property
    def _expected(self) -> int:
        ids = 0 if self.start.lossy else self.ids.end
        return max(self.start.image_count or 0, ids)

    def check(self, frame: Frame) -> Rejected | None:
        """None where the frame has the form of its series, which its start or first frame sets."""
        if self.shape is None or self.dtype is None:
            if frame.data.ndim == 2:
                self.shape = self.start.shape or (frame.data.shape[0], frame.data.shape[1])
            self.dtype = (
                frame.data.dtype if self.start.dtype is None else np.dtype(self.start.dtype)
            )
        return check_form(frame, self.shape or (0, 0), self.dtype)
