"""How fast a tracker is."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from models.evaluation.star import star_pair
from models.tracker import Tracker
from simulator.seeds import seeded_generator

SIDES_PX = (256, 512, 768)
COUNTS = 1000.0


@dataclass(frozen=True, slots=True)
class RunTimeRow:
    """One pair of frames of `side_px`²: the fastest of several repetitions.

    `busy_s` is CPU time of all threads on a CPU, and elapsed time on a GPU; both include what is
    around the network, from frames in the host's memory to fields in it.
    """

    side_px: int
    device: str
    elapsed_s: float
    busy_s: float
    px_per_busy_s: float


def run_time_study(
    tracker: Tracker,
    pattern: torch.Tensor,
    sides_px: tuple[int, ...] = SIDES_PX,
    *,
    repeats: int = 3,
) -> list[RunTimeRow]:
    """A row for each size, after one pair that is not counted. `pattern` is periodic.

    Every repetition has another reference: what a tracker keeps of the last one does not help it.
    """
    rows: list[RunTimeRow] = []
    for side in sides_px:
        pairs = [
            star_pair(pattern, (side, side), COUNTS, seeded_generator(11, i))
            for i in range(repeats + 1)
        ]
        if not rows:
            tracker.track(*pairs[0])
        times = [_timed(tracker, pair) for pair in pairs[1:]]
        elapsed_s, busy_s = (min(part) for part in zip(*times, strict=True))
        rows.append(RunTimeRow(side, str(tracker.device), elapsed_s, busy_s, side**2 / busy_s))
    return rows


def _timed(tracker: Tracker, pair: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, float]:
    """Elapsed and busy seconds."""
    if tracker.device.type == "cuda":
        torch.cuda.synchronize(tracker.device)
    start_s, cpu_s = time.perf_counter(), time.process_time()
    tracker.track(*pair)
    if tracker.device.type == "cuda":
        torch.cuda.synchronize(tracker.device)
    elapsed_s, used_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    return elapsed_s, used_s if tracker.device.type == "cpu" else elapsed_s
