"""Accuracy against cost: every shipped network with fewer passes and with more views.

    python benchmarks/frontier.py [--patterns N] [--update-cards]

Cost is the time of one frame pair over that of one forward pass of quarter-width StrainNet-f, both
in the same run, on one thread. Accuracy is the mean end-point error over the mean limit on patterns
that no network has seen (`cade evaluate`'s study). Writes benchmarks/frontier.json and
docs/frontier.png.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tracker_speed import best_seconds, frames, network_job
from models.cade_network import VIEWS, CadeNetwork
from models.cade_tracker import CadeTracker
from models.evaluation import mean_ratio, patch_study, unseen_patterns
from models.weights_file import find_weights, read_card, shipped_weights, update_card

HERE = Path(__file__).resolve().parent
SIDE_PX = 256
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Point:
    """One variant: `cost` in passes of quarter-width StrainNet-f, `ratio` to the limit."""

    weights: str
    passes: int
    views: int
    cost: float
    ratio: float

    @property
    def whole(self) -> bool:
        """Whether it is what its card ships, with nothing left out or added."""
        options = read_card(find_weights(self.weights)).options
        return self.passes == len(options["channels"]) and self.views == options.get("views", 1)


def variants(network: CadeNetwork) -> list[CadeNetwork]:
    """The network with one to all of its passes, and the whole one with each number of views."""
    count = len(network.passes)
    asked = [(n, 1) for n in range(1, count)] + [(count, v) for v in (1, 2, 4)]
    made = []
    for passes, views in asked:
        variant = copy.deepcopy(network)
        variant.passes = variant.passes[:passes]
        variant.levels = variant.levels[:passes]
        variant.views = VIEWS[:views]
        made.append(variant)
    return made


def measure(patterns: torch.Tensor, rounds: int) -> list[Point]:
    """All variants of all shipped networks of this architecture."""
    points = []
    for name in shipped_weights():
        if read_card(find_weights(name)).architecture != "cade":
            continue
        tracker = CadeTracker(name, CPU)
        assert isinstance(tracker.network, CadeNetwork)
        for variant in variants(tracker.network):
            tracker.network = variant
            ratio = mean_ratio(patch_study(tracker, patterns))
            counts = (len(variant.passes), len(variant.views))
            points.append(Point(name, *counts, cost(tracker, rounds), ratio))
            print(points[-1], flush=True)
    return points


def cost(tracker: CadeTracker, rounds: int) -> float:
    """Time of `track` over that of the yardstick's bare forward pass."""
    reference, sample = frames(SIDE_PX, CPU)
    jobs = {
        "yardstick": network_job(SIDE_PX, CPU, 0.25),
        "variant": lambda: tracker.track(reference, sample),
    }
    seconds = best_seconds(jobs, rounds, CPU)
    return seconds["variant"] / seconds["yardstick"]


def plot(points: list[Point], path: Path) -> None:
    """Accuracy over cost, the shipped presets filled."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for number, name in enumerate(sorted({p.weights for p in points})):
        own = sorted((p for p in points if p.weights == name), key=lambda p: p.cost)
        colour = f"C{number}"
        axes.plot([p.cost for p in own], [p.ratio for p in own], "-", color=colour, alpha=0.4)
        for p in own:
            face = colour if p.whole else "white"
            axes.plot(p.cost, p.ratio, "o", color=colour, markerfacecolor=face)
            plural = ("" if p.passes == 1 else "es", "" if p.views == 1 else "s")
            axes.annotate(
                f"{p.passes} pass{plural[0]}, {p.views} view{plural[1]}",
                (p.cost, p.ratio),
                xytext=(6, 5 - 14 * number),
                textcoords="offset points",
                fontsize=7,
            )
        axes.plot([], [], "o-", color=colour, label=name)
    axes.set_xscale("log")
    axes.set_xlim(right=1.5 * max(p.cost for p in points))
    ticks = [0.5, 1, 2, 4, 8]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("cost of a frame pair, in forward passes of quarter-width StrainNet-f")
    axes.set_ylabel("mean EPE over the Bayesian limit")
    axes.legend(title="filled: as shipped", frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def main() -> int:
    """Measure, write, plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--patterns", type=int, default=4, metavar="N", help="unseen patterns (4)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of the timing (5)")
    parser.add_argument("--update-cards", action="store_true", help="put the points into the cards")
    parser.add_argument("--output", type=Path, default=HERE / "frontier.json", metavar="FILE")
    parser.add_argument("--plot", type=Path, default=HERE.parent / "docs" / "frontier.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    points = measure(unseen_patterns(options.patterns), options.rounds)
    rows = [dataclasses.asdict(p) for p in points]
    options.output.write_text(json.dumps(rows, indent=2) + "\n")
    plot(points, options.plot)
    if options.update_cards:
        for name in {p.weights for p in points}:
            path = find_weights(name)
            update_card(path, read_card(path).numbers | {"frontier": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
