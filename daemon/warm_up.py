"""The tracker's first pass, which is slow and may fail: done before the daemon says it is ready."""

from __future__ import annotations

import torch

from models import Tracker

_SIDE_PX = 128


def choose_threads(threads: int | None) -> None:
    """Set the CPU threads of all tensor work, once; all cores if None."""
    if threads is not None:
        torch.set_num_threads(threads)


def warm_up(tracker: Tracker) -> None:
    """Run one small pair through the tracker."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((_SIDE_PX, _SIDE_PX), generator=generator)
    tracker.track(image, image)
