"""What the leading process does beside training: log, checkpoints, pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.training.clock import Clock, Timer
from models.training.log import LOG_EVERY, Progress, TrainingLog
from models.training.picture import PICTURE, prediction_picture, write_picture
from models.training.sources import PairSource
from models.training.tally import Sums

if TYPE_CHECKING:
    from models.training.trainer import Trainer

_PICTURE_STEP = 1 << 40
"""The pairs of the picture are those of a step that no run reaches."""


@dataclass(frozen=True, slots=True)
class Reports:
    """Where to say what, and how often to write what, in seconds."""

    report: Callable[[Progress], None]
    warn: Callable[[str], None]
    checkpoint_s: float
    picture_s: float


class Watch:
    """Looks after a run of `trainer`."""

    def __init__(self, trainer: Trainer, source: PairSource, reports: Reports) -> None:
        self._trainer, self._source, self._reports = trainer, source, reports
        self._log = TrainingLog(trainer.folder, trainer.step, reports.warn)
        self._saving, self._painting = Timer(reports.checkpoint_s), Timer(reports.picture_s)
        self._logged_step, self._since = trainer.step, Clock(0.0)

    def progress(self, sums: Sums, steps: int) -> None:
        """Log what the last steps gave; `steps` there are in all."""
        trainer = self._trainer
        pairs = (trainer.step - self._logged_step) * trainer.recipe.optimiser.batch
        row = Progress(
            step=trainer.step,
            steps=steps,
            loss=sums.loss,
            epe_px=sums.epe_px,
            rate=trainer.rate,
            seconds=trainer.seconds,
            samples_per_s=pairs / max(self._since.here_s, 1e-9),
            skipped=sums.skipped,
        )
        self._logged_step, self._since = trainer.step, Clock(0.0)
        self._log.write(row)
        self.skipped(sums)
        self._reports.report(row)

    def skipped(self, sums: Sums) -> None:
        """Warn of steps that had to be skipped."""
        if sums.skipped:
            trainer = self._trainer
            self._reports.warn(
                f"step {trainer.step}: {sums.skipped} of the last {LOG_EVERY} steps were skipped, "
                f"their loss or gradient was no finite number (optimiser.rate is "
                f"{trainer.recipe.optimiser.rate:g})"
            )

    def between_steps(self) -> None:
        """Save and paint, when it is time."""
        if self._saving.due():
            self._trainer.save()
        if self._painting.due():
            self._paint()

    def end(self) -> None:
        """Save and paint once more."""
        self._trainer.save()
        self._paint()

    def _paint(self) -> None:
        trainer = self._trainer
        pairs = self._source.batch(_PICTURE_STEP, range(1))
        image = prediction_picture(trainer.result(), pairs)
        write_picture(image, trainer.folder / PICTURE)
        self._log.picture(image, trainer.step)

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()
