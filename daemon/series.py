"""One series while it runs: its role, its form, and the frames that are being averaged."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cade.frames import Beamline, Frame, Rejected, Role, SeriesStart
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

    @property
    def beamline(self) -> Beamline:
        """What the detector said about the optics."""
        return self.start.beamline

    def check(self, frame: Frame) -> Rejected | None:
        """None where the frame has the form of its series, which its start or first frame sets."""
        if self.shape is None or self.dtype is None:
            if frame.data.ndim == 2:
                self.shape = self.start.shape or (frame.data.shape[0], frame.data.shape[1])
            self.dtype = (
                frame.data.dtype if self.start.dtype is None else np.dtype(self.start.dtype)
            )
        return check_form(frame, self.shape or (0, 0), self.dtype)
