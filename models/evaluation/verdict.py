"""Where the network is ahead of the conventional trackers, and where it is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.evaluation.outcome import Row

MOST_WINDOW_PX = 25
"""Windows above it are left out: their resolution is not what one takes a network for."""
Results = Mapping[str, Mapping[str, Sequence[Row]]]
"""Tables by name, of every tracker by label."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of a network and of a conventional tracker; the smaller one is ahead."""

    study: str
    where: str
    network: str
    peer: str
    network_value: float
    peer_value: float
    error: float
    """Standard error of their difference, as if the frames were not the same; NaN = unknown."""

    @property
    def ahead(self) -> bool:
        """Whether the network is."""
        return self.network_value < self.peer_value

    @property
    def undecided(self) -> bool:
        """Whether the difference is within its statistical error."""
        return abs(self.network_value - self.peer_value) <= self.error


@dataclass(frozen=True, slots=True)
class _Axis:
    """What is compared in a table: the value of every row, and where it stands."""

    study: str
    table: str
    value: str
    where: Callable[[Row], str]
    error: str


_AXES = (
    _Axis("constant shifts, RMSE", "shifts", "rmse_px", lambda r: f"shift {r.shift_px:g} px",
          "rmse_error_px"),
    _Axis("constant shifts, bias", "shifts", "bias_px", lambda r: f"shift {r.shift_px:g} px",
          "bias_error_px"),
    _Axis("noise, RMSE of a shift", "noise", "rmse_px", lambda r: f"noise {r.noise:.0%}",
          "rmse_error_px"),
    _Axis("noise, EPE of random maps", "noise", "epe_px", lambda r: f"noise {r.noise:.0%}",
          "epe_error_px"),
    _Axis("random maps, EPE", "patches", "epe_px", lambda r: f"patches of {r.patch_px} px",
          "epe_error_px"),
    _Axis("star map, resolution", "star", "resolution_px", lambda _: "10 % bias",
          "resolution_error_px"),
    _Axis("star map, last bias above 10 %", "star", "last_bias_px", lambda _: "longest period",
          "resolution_error_px"),
    _Axis("sine phantom, RMSE", "sine", "rmse_px", lambda _: "base of the phantom",
          "rmse_error_px"),
)  # fmt: skip
_OF_WINDOWS = (
    ("RMSE of shifts", "rmse_px", "rmse_error_px"),
    ("EPE of random maps", "epe_px", "epe_error_px"),
    ("resolution", "resolution_px", "resolution_error_px"),
)


def comparisons(results: Results, networks: Sequence[str]) -> list[Comparison]:
    """Every number that a network and a peer both have; `networks` are labels of `results`."""
    peers = [label for label in results if label not in networks]
    pairs = [(n, p) for n in networks for p in peers]
    return [c for n, p in pairs for c in [*_by_row(results, n, p), *_by_window(results, n, p)]]


def _by_row(results: Results, network: str, peer: str) -> Iterator[Comparison]:
    for axis in _AXES:
        ours, theirs = (results[label].get(axis.table, ()) for label in (network, peer))
        known = {axis.where(row): row for row in theirs}
        for row in ours:
            where = axis.where(row)
            if where in known:
                mine, its = (getattr(r, axis.value) for r in (row, known[where]))
                error = math.hypot(*(getattr(r, axis.error) for r in (row, known[where])))
                yield Comparison(axis.study, where, network, peer, mine, its, error)


def _by_window(results: Results, network: str, peer: str) -> Iterator[Comparison]:
    for ours in results[network].get("windows", ()):
        for row in results[peer].get("windows", ()):
            if row.window_px <= MOST_WINDOW_PX:
                for words, value, error in _OF_WINDOWS:
                    yield Comparison(
                        f"windows, {words}",
                        f"window {row.window_px}",
                        network,
                        peer,
                        getattr(ours, value),
                        getattr(row, value),
                        math.hypot(getattr(ours, error), getattr(row, error)),
                    )


def sentences(found: Sequence[Comparison]) -> list[str]:
    """One for each study, network and peer: ahead everywhere, or where not and by how much."""
    groups: dict[tuple[str, str, str], list[Comparison]] = {}
    for comparison in found:
        groups.setdefault((comparison.network, comparison.peer, comparison.study), []).append(
            comparison
        )
    return [_sentence(*key, group) for key, group in groups.items()]


def _sentence(network: str, peer: str, study: str, group: Sequence[Comparison]) -> str:
    behind = [c for c in group if not c.ahead]
    start = (
        f"{study}: {network} against {peer}: ahead in {len(group) - len(behind)} of {len(group)}"
    )
    if not behind:
        return f"{start}."
    places = "; ".join(
        f"{c.where}: {c.network_value:.4g} against {c.peer_value:.4g} px"
        + (" (within the statistical error)" if c.undecided else "")
        for c in behind
    )
    return f"{start}; NOT ahead at {places}."


def equal_resolution(results: Results, networks: Sequence[str]) -> list[str]:
    """What the peers' errors are at the window that gives them a network's resolution."""
    lines = []
    for network in networks:
        for ours in results[network].get("windows", ()):
            for peer in (label for label in results if label not in networks):
                rows = results[peer].get("windows", ())
                if rows:
                    lines.append(_at_equal(network, ours, peer, rows))
    return lines


def _at_equal(network: str, ours: Row, peer: str, rows: Sequence[Row]) -> str:
    fine = [r for r in rows if r.reached and r.resolution_px <= ours.resolution_px]
    row = max(fine, key=lambda r: r.window_px) if fine else min(rows, key=lambda r: r.window_px)
    which = (
        f"the window that gives {peer} the resolution of {network} is {row.window_px} px"
        if fine
        else f"no window measured gives {peer} the resolution of {network}; the smallest, "
        f"{row.window_px} px, is nearest"
    )
    return (
        f"{which} ({row.resolution_px:.1f} against {ours.resolution_px:.1f} px): RMSE of shifts "
        f"{row.rmse_px:.4f} against {ours.rmse_px:.4f} px, EPE of random maps {row.epe_px:.4f} "
        f"against {ours.epe_px:.4f} px."
    )
