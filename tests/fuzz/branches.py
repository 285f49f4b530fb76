"""How many of the decoders' branches the fuzzer reaches, by the coverage package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.session import STEPS
from tests.fuzz.shard import ROOT, Shard, start

SETTINGS = Path(__file__).with_name("coverage.ini")


def share(names: Sequence[str], seed: int, inputs: int, processes: int) -> float:
    """Branches of `cade.wire` that are reached, in percent; prints the table.

    Lines that only encode are left out (coverage.ini says which).
    """
    count = -(-inputs // (len(names) * STEPS))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "coverage"
        flags = ("-m", "coverage", "run", f"--rcfile={SETTINGS}", f"--data-file={data}")

        def measure(name: str) -> None:
            done = start(Shard(name, seed, 0, count), Path(folder) / name, *flags)
            if done.returncode != 0:
                raise SystemExit(f"{name}: the measured run ended: {done.stderr[-1000:]}")

        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(measure, names))
        _coverage("combine", data)
        print(_coverage("report", data))
        report = Path(folder) / "report.json"
        _coverage("json", data, "-o", str(report))
        totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
    found = 100 * totals["covered_branches"] / totals["num_branches"]
    print(f"branches of the decoders reached: {found:.1f} %, of {totals['num_branches']}")
    return float(found)


def _coverage(command: str, data: Path, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "coverage", command, f"--rcfile={SETTINGS}", f"--data-file={data}",
         *more],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"coverage {command}: {done.stdout}{done.stderr}")
    return done.stdout
