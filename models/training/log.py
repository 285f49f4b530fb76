"""What a run tells while it goes on: a CSV file, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

LOG = "log.csv"
LOG_EVERY = 20
"""Steps between two lines."""
TENSORBOARD = "tensorboard"
"""Subfolder with TensorBoard's event files."""
COLUMNS = ("step", "loss", "epe_px", "rate", "seconds", "samples_per_s", "skipped")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: `loss` and `epe_px` are means over the last `LOG_EVERY` steps.

    `skipped` of these steps had no finite loss or gradient, and changed nothing.
    """

    step: int
    steps: int
    loss: float
    epe_px: float
    rate: float
    seconds: float
    samples_per_s: float = float("nan")
    skipped: int = 0


class TrainingLog:
    """Writes into the folder of a run."""

    def __init__(self, folder: Path, step: int, warn: Callable[[str], None]) -> None:
        """Open the log of a run that stands at `step`; what lies beyond is done again."""
        self._path = folder / LOG
        self._cut(step)
        self._board = _open_board(folder / TENSORBOARD, step, warn)

    def _cut(self, step: int) -> None:
        if self._path.exists():
            lines = self._path.read_text().splitlines(keepends=True)
            kept = [row for row in lines[1:] if int(row.split(",")[0]) <= step]
            self._path.write_text("".join(lines[:1] + kept))

    def write(self, row: Progress) -> None:
        """Append a line."""
        new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS)
            writer.writerow(
                [
                    row.step,
                    f"{row.loss:.7g}",
                    f"{row.epe_px:.6f}",
                    f"{row.rate:.4g}",
                    f"{row.seconds:.1f}",
                    f"{row.samples_per_s:.1f}",
                    row.skipped,
                ]
            )
        if self._board is not None:
            for name in ("loss", "epe_px", "rate", "samples_per_s", "skipped"):
                self._board.add_scalar(name, getattr(row, name), row.step)

    def picture(self, image: torch.Tensor, step: int) -> None:
        """Show an image `(H, W, 3)` uint8 in TensorBoard."""
        if self._board is not None:
            self._board.add_image("predictions", image, step, dataformats="HWC")

    def close(self) -> None:
        """End TensorBoard's thread."""
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, step: int, warn: Callable[[str], None]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of other packages, on import
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            warn("TensorBoard is not installed (pip install tensorboard): log.csv holds the curves")
            return None
        return SummaryWriter(folder, purge_step=step + 1)
