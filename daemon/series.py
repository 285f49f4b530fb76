"""One series while it runs: its role, its form, and the frames that are being averaged."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cade.frames import NOT_NEW, Beamline, Frame, Rejected, Role, SeriesStart
from daemon.batches import SeriesOpened
from daemon.checks import check_form
from daemon.reference_average import RunningAverage


@dataclass(slots=True)
class Series:
    """What pairing remembers of an open series; changed by the pairing thread alone.

    `opened` is set with the first sample frame: only then a result file makes sense.
    """

    start: SeriesStart
    number: int
    shape: tuple[int, int] | None = None
    dtype: np.dtype[np.generic] | None = None
    opened: SeriesOpened | None = None
    averages: dict[Role, RunningAverage] = field(default_factory=dict)
    seen: int = 0
    highest_id: int = -1

    @property
    def beamline(self) -> Beamline:
        """What the detector said about the optics."""
        return self.start.beamline

    def see(self, event: Frame | Rejected) -> None:
        """Remember the image id of what has come, where it is known and new."""
        if event.image_id < 0 or (isinstance(event, Rejected) and event.reason in NOT_NEW):
            return
        self.seen += 1
        self.highest_id = max(self.highest_id, event.image_id)

    @property
    def missing(self) -> int:
        """Images that were announced, or lie before the last one, and have not come.

        A broken message whose id is unknown leaves its image missing as well.
        """
        return max(0, max(self.start.image_count or 0, self.highest_id + 1) - self.seen)

    def check(self, frame: Frame) -> Rejected | None:
        """None where the frame has the form of its series, which its start or first frame sets."""
        if self.shape is None or self.dtype is None:
            if frame.data.ndim == 2:
                self.shape = self.start.shape or (frame.data.shape[0], frame.data.shape[1])
            self.dtype = (
                frame.data.dtype if self.start.dtype is None else np.dtype(self.start.dtype)
            )
        return check_form(frame, self.shape or (0, 0), self.dtype)
