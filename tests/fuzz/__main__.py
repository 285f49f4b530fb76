"""Fuzz every decoder, and say what came of it.

    python -m tests.fuzz [--inputs N] [--seed S] [--processes P] [--format NAME ...] [--keep]

Exit 1 where a decoder raised anything but `WireError`, gave out what it must not, lost a good
series, crashed, hung or took too much memory; where fewer than half of the inputs were structured
mutations that pass the outer parse; or where they reach too few branches of the decoders. What a
fault came of is stored in tests/fuzz/corpus, where the tests find it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz import branches, shard, trial
from tests.fuzz.session import STEPS
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import MEMORY_BYTES, SESSION_LIMIT_S

LEAST_STRUCTURED = 0.5
LEAST_BRANCHES = 95.0
MAX_FAULTS = 100
"""So many are shown and stored."""


def main() -> int:
    """Run all shards, print the table, measure the branches."""
    options = _options()
    names = options.format or list(TARGETS)
    sessions = -(-options.inputs // (len(names) * STEPS))
    each = -(-sessions // options.processes)
    shards = [
        shard.Shard(name, options.seed, first, min(each, sessions - first))
        for name in names
        for first in range(0, sessions, each)
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(options.processes) as pool,
    ):
        found = list(pool.map(shard.runner(Path(folder)), shards))
    inputs = [one for _, some in found for one in some]
    faults = [one.stored() for one in [one for one in inputs if one.reason][:MAX_FAULTS]]
    if options.keep:
        _keep_new(inputs)
    results = [one for some, _ in found for one in some]
    wrong = _report(names, results, every_outcome=options.outcomes)
    for fault in faults:
        print(f"FAULT {fault}")
    print(f"faults: {len(faults)}")
    if options.coverage_inputs == 0:
        return bool(faults or wrong)
    share = branches.share(names, options.seed, options.coverage_inputs, options.processes)
    return bool(faults or wrong or share < LEAST_BRANCHES)


def _keep_new(inputs: list[shard.Input]) -> None:
    """Store one input of every new outcome."""
    seen = set()
    for one in inputs:
        outcome = trial.outcome_of(TARGETS[one.name]().make(one.options), one.messages[0])
        if not one.reason and (one.name, outcome) not in seen:
            one.stored()
        seen.add((one.name, outcome))


def _report(names: list[str], results: list[shard.Result], *, every_outcome: bool) -> bool:
    """Print what was counted; whether too few inputs were structured."""
    print(
        f"{'format':12} {'inputs':>9} {'a second':>9} {'structured':>11} {'accepted':>9} outcomes"
    )
    for name in names:
        own = [one for one in results if one["format"] == name]
        inputs, parsed = (sum(one[key] for one in own) for key in ("inputs", "parsed"))
        seconds = sum(one["seconds"] for one in own)
        outcomes = _outcomes(own)
        accepted = sum(n for words, n in outcomes.items() if words.startswith("accepted"))
        print(
            f"{name:12} {inputs:9,} {inputs / seconds:9,.0f} {parsed / inputs:11.1%} "
            f"{accepted / inputs:9.1%} {len(outcomes)}"
        )
    inputs, parsed = (sum(one[key] for one in results) for key in ("inputs", "parsed"))
    peak = max(one["peak_rss_mib"] for one in results)
    print(f"{'all':12} {inputs:9,}, structured and past the outer parse: {parsed / inputs:.1%}")
    print(f"highest memory of a process {peak} MiB; a session may take {SESSION_LIMIT_S:g} s and")
    print(f"{MEMORY_BYTES >> 20} MiB more than the process has before it")
    for words, count in _outcomes(results).most_common(None if every_outcome else 15):
        print(f"{count:9,}  {words}")
    return bool(parsed < LEAST_STRUCTURED * inputs)


def _outcomes(results: list[shard.Result]) -> Counter[str]:
    """What came of the inputs: events, or a complaint without its values."""
    found: Counter[str] = Counter()
    for one in results:
        found.update(one["outcomes"])
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="hostile inputs in total")
    parser.add_argument("--seed", type=int, default=1, help="other inputs with another seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--format", action="append", choices=list(TARGETS), help="only this one")
    parser.add_argument("--coverage-inputs", type=int, default=100_000, help="0: do not measure")
    parser.add_argument("--outcomes", action="store_true", help="list every outcome, not only 15")
    parser.add_argument("--keep", action="store_true", help="store inputs with a new outcome")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
