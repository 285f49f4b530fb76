"""A process that fuzzes one format: sessions of one seed, watched by time and memory.

What it found goes to stdout as one JSON object. Before each session it notes the session's number
in a file, so that whoever started it knows what a crash or a hang came of.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from tests.fuzz import corpus, trial
from tests.fuzz.session import session
from tests.fuzz.targets import TARGETS

SESSION_LIMIT_S = float(os.environ.get("CADE_FUZZ_LIMIT_S", "30"))
"""Time of a session of 20 inputs, which takes some 20 ms; whatever is longer is a hang."""
MEMORY_BYTES = 128 << 20
"""Memory beyond what the process has before the first input."""
WARM_UP = 50


def main(arguments: list[str]) -> None:
    """Arguments: format, seed, first session, number of sessions, file for their numbers."""
    name, seed, first, count, progress = arguments
    warnings.simplefilter("error")
    print(json.dumps(fuzz(name, int(seed), int(first), int(count), Path(progress))))


def fuzz(name: str, seed: int, first: int, count: int, progress: Path) -> dict[str, Any]:
    """Run the sessions, and count."""
    target, pool, tally = TARGETS[name](), pool_of(name), trial.Tally()
    faults: list[dict[str, Any]] = []
    begun_s = time.monotonic()
    with progress.open("wb", buffering=0) as note:
        for index in range(first, first + count):
            if index == first + min(WARM_UP, count // 2):
                limit_memory()
            os.pwrite(note.fileno(), index.to_bytes(8, "little"), 0)
            signal.setitimer(signal.ITIMER_REAL, SESSION_LIMIT_S)  # nobody handles it: it kills
            found = session(target, pool, seed, index)
            try:
                trial.run(target, found, tally)
            except trial.Fault as fault:
                faults.append({"index": index, "steps": fault.steps, "detail": str(fault)})
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    return {
        "format": name,
        "seconds": time.monotonic() - begun_s,
        "inputs": sum(tally.kinds.values()),
        "kinds": tally.kinds,
        "parsed": tally.parsed,
        "outcomes": tally.outcomes,
        "faults": faults,
        "new": _new(name, tally),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def pool_of(name: str) -> tuple[list[bytes], ...]:
    """What mutations begin with: the seeds, and the corpus."""
    return (*TARGETS[name]().seeds, *(one for one in corpus.messages(name) if one))


def limit_memory() -> None:
    """From now on this process may have `MEMORY_BYTES` more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _new(name: str, tally: trial.Tally) -> list[dict[str, Any]]:
    """One short input of every outcome that the corpus has not."""
    target = TARGETS[name]()
    known = {
        trial.outcome_of(target.make(options), message)
        for _, options, messages in corpus.kept(name)
        for message in messages
    }
    return [
        {"options": corpus.plain(options), "parts": [part.hex() for part in message]}
        for outcome, (options, message) in tally.first.items()
        if outcome not in known and sum(map(len, message)) <= corpus.MAX_KEPT_BYTES
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
