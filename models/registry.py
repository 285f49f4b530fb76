"""Trackers by name."""

from __future__ import annotations

from pathlib import Path

import torch

from cade.errors import UsageError
from models.cade_tracker import CadeTracker
from models.tracker import Tracker
from models.umpa_tracker import UmpaTracker
from models.weights_file import find_weights
from models.zncc_tracker import ZnccTracker

TRACKERS = ("cade", "zncc", "umpa")


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, otherwise the CPU.

    Raises:
        UsageError: an unknown name, or a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"device {name!r} cannot be used: {first}; try 'auto' or 'cpu'") from None
    return device


def load_tracker(
    name: str = "cade",
    *,
    device: str = "auto",
    weights: str = "cade",
    window: int = 15,
    search_px: int = 3,
    weights_folder: Path | None = None,
) -> Tracker:
    """A tracker ready to use.

    Args:
        name: one of `TRACKERS`.
        device: `auto`, `cpu`, `cuda`, `cuda:1` …
        weights: shipped name, name in `weights_folder`, or .safetensors file, for `cade`.
        window: odd window in px, for the conventional trackers.
        search_px: the largest whole shift that they try; results there are not valid.
        weights_folder: weights of the user's own, such as `cade retrain` promotes.

    Raises:
        UsageError: unknown tracker, weights or device.
        CadeError: weights that do not match their card.
    """
    if name not in TRACKERS:
        raise UsageError(f"unknown tracker {name!r}; known are {', '.join(TRACKERS)}")
    place = choose_device(device)
    if name == "zncc":
        return ZnccTracker(place, window, search_px)
    if name == "umpa":
        return UmpaTracker(place, window, search_px)
    return CadeTracker(str(find_weights(weights, weights_folder)), place)
