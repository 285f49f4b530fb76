"""The trackers that are compared, each with a label of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cade.errors import UsageError
from models.registry import TRACKERS, load_tracker
from models.tracker import Tracker

PAPER_TRACKERS = tuple(name for name in ("cade", "zncc", "umpa") if name in TRACKERS)
"""Those that the paper compares."""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A tracker under a label such as `cade-accurate`, `zncc 15` or `cade @ cuda`."""

    label: str
    name: str
    device: str
    tracker: Tracker

    @property
    def is_cade(self) -> bool:
        """Whether it is the network, which has no window."""
        return self.name == "cade"

    def with_window(self, window: int) -> Tracker:
        """The same conventional tracker with another window."""
        return load_tracker(self.name, device=self.device, window=window)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compare: every tracker with all weights or windows, on every device."""

    trackers: Sequence[str] = PAPER_TRACKERS
    weights: Sequence[str] = ("cade",)
    windows: Sequence[int] = (15,)
    devices: Sequence[str] = ("auto",)
    weights_folder: Path | None = None


def contenders(wanted: Wanted) -> list[Contender]:
    """Trackers ready to use.

    Raises:
        UsageError: unknown tracker, weights or device, an even window, one thing named twice, or a
            tracker that needs more than one pair.
    """
    found = [
        _loaded(name, choice, device, wanted)
        for name in wanted.trackers
        for choice in (wanted.weights if name == "cade" else wanted.windows)
        for device in wanted.devices
    ]
    labels = [c.label for c in found]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"evaluate: {label!r} is named twice; every tracker must differ")
    return found


def _loaded(name: str, choice: str | int, device: str, wanted: Wanted) -> Contender:
    load = partial(load_tracker, name, device=device, weights_folder=wanted.weights_folder)
    tracker = load(weights=choice) if isinstance(choice, str) else load(window=choice)
    least = getattr(tracker, "least_positions", 1)
    if least > 1:
        raise UsageError(
            f"evaluate: {name} needs frames at {least} diffuser positions; single pairs are "
            f"evaluated, leave it out"
        )
    label = f"{name} {choice}"
    if isinstance(choice, str):
        label = tracker.provenance.weights
        if choice.endswith(".safetensors"):  # weights of one's own may be named as shipped ones
            label += f" {tracker.provenance.weights_sha256[:8]}"
    label += f" @ {device}" if len(wanted.devices) > 1 else ""
    return Contender(label, name, device, tracker)
