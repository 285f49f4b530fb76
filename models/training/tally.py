"""What a run adds up between two lines of its log, without asking the device at every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from models.training.processes import Processes

MOST_BAD_STEPS = 10
"""So many steps in a row without a finite loss and gradient end a run."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Means over the good steps of a window; how many were `skipped`, and how many in a row."""

    loss: float
    epe_px: float
    skipped: int
    in_a_row: int


class Tally:
    """Loss and end-point error of the steps since the last `read`."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(6, dtype=torch.float64, device=device)

    def add(self, loss: torch.Tensor, epe_px: torch.Tensor, bad: torch.Tensor) -> None:
        """Count a step; `bad` is 1 where it had to be skipped, else 0."""
        good = 1 - bad
        run = (self.sums[4] + 1) * bad
        zero = torch.zeros_like(loss)
        step = [torch.where(bad > 0, zero, value) for value in (loss, epe_px)] + [good, bad]
        self.sums = torch.stack(
            [*(self.sums[:4] + torch.stack(step)), run, torch.maximum(self.sums[5], run)]
        )

    def look(self, processes: Processes) -> Sums:
        """The sums over all processes so far."""
        means = processes.sum(self.sums[:2].clone()) / processes.count
        loss, epe_px, good, bad, _, worst = [*means.tolist(), *self.sums[2:].tolist()]
        count = good or float("nan")
        return Sums(loss / count, epe_px / count, round(bad), round(worst))

    def read(self, processes: Processes) -> Sums:
        """`look`, and begin anew; only the present run of bad steps goes on."""
        result = self.look(processes)
        kept = torch.zeros_like(self.sums)
        kept[4:] = self.sums[4]
        self.sums = kept
        return result
