"""What travels from pairing to the tracker, and on to the writer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from cade.frames import Beamline, Frame, FramePair, Reference, Rejected
from cade.geometry import Geometry
from cade.reading import Metadata
from daemon.correction.correction import Correction
from daemon.correction.transmission import NOT_NORMALISED, Normalisation
from daemon.recording.results import ResultRows
from daemon.recording.scan_header import Parameter


@dataclass(frozen=True, slots=True)
class SeriesOpened:
    """The first sample of a series is there: its shape and geometry are now known.

    `shape` is that of the detector's frames, `image_shape` that of what is made of them; `geometry`
    is that of the latter.
    """

    series_id: str
    number: int
    start_time_s: float
    shape: tuple[int, int]
    geometry: Geometry | None
    beamline: Beamline
    correction: Correction
    normalisation: Normalisation = NOT_NORMALISED
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Shape `(h, w)` of the results."""
        return self.correction.image_shape(self.shape)

    @property
    def steps(self) -> tuple[Parameter, ...]:
        """What the result file says about the correction."""
        return (*self.correction.parameters, *self.normalisation.parameters)


@dataclass(frozen=True, slots=True)
class SeriesClosed:
    """Nothing more comes of this series."""

    series_id: str


@dataclass(frozen=True, slots=True, eq=False)
class PairBatch:
    """Samples of one series that share a reference.

    `arrived_s` is each one's monotonic time, `drifts_px` each one's drift since the reference,
    `(x, y)`, None where it was not measured.
    """

    series: SeriesOpened
    reference: Reference
    samples: tuple[Frame, ...]
    arrived_s: tuple[float, ...]
    drifts_px: tuple[tuple[float, float] | None, ...]

    def __len__(self) -> int:
        return len(self.samples)


ToTracker = SeriesOpened | PairBatch | Rejected | SeriesClosed
ToWriter = SeriesOpened | ResultRows | Rejected | SeriesClosed


class Batcher:
    """Collects pairs of one series and reference until enough are there or they waited enough."""

    def __init__(self, size: int, wait_s: float) -> None:
        self._size, self._wait_s = size, wait_s
        self._series: SeriesOpened | None = None
        self._reference: Reference | None = None
        self._samples: list[Frame] = []
        self._arrived_s: list[float] = []
        self._drifts_px: list[tuple[float, float] | None] = []

    def add(self, series: SeriesOpened, pair: FramePair) -> list[PairBatch]:
        """Take a pair; returns the batches that this completes."""
        done = [] if self._fits(series, pair.reference) else self.flush()
        self._series, self._reference = series, pair.reference
        self._samples.append(pair.sample)
        self._arrived_s.append(time.monotonic())
        self._drifts_px.append(pair.drift_px)
        return done + (self.flush() if len(self._samples) >= self._size else [])

    def flush(self) -> list[PairBatch]:
        """What is waiting, as a batch."""
        if not self._samples or self._series is None or self._reference is None:
            return []
        batch = PairBatch(
            self._series,
            self._reference,
            tuple(self._samples),
            tuple(self._arrived_s),
            tuple(self._drifts_px),
        )
        self._samples, self._arrived_s, self._drifts_px = [], [], []
        return [batch]

    def due_in_s(self) -> float | None:
        """Time until what waits must go; None where nothing waits."""
        if not self._arrived_s:
            return None
        return max(0.0, self._arrived_s[0] + self._wait_s - time.monotonic())

    def _fits(self, series: SeriesOpened, reference: Reference) -> bool:
        return not self._samples or (
            self._series is series
            and self._reference is not None
            and self._reference.reference_id == reference.reference_id
        )
