"""A range of sessions in a process of its own, which may end in any way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz import corpus
from tests.fuzz.raw import Message
from tests.fuzz.session import session
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import pool_of

ROOT = Path(__file__).parents[2]
MAX_DEATHS = 5

Result = dict[str, Any]
"""What a worker counted."""


@dataclass(frozen=True, slots=True)
class Input:
    """What a decoder was sent, for the corpus: `reason` says why, empty for a new outcome."""

    name: str
    options: Mapping[str, Any]
    messages: Sequence[Message]
    reason: str = ""

    def stored(self) -> str:
        """Store it, and say what and where."""
        path = corpus.keep(self.name, self.options, self.messages)
        return f"{self.name}: {self.reason} ({path.relative_to(ROOT)})"


@dataclass(frozen=True, slots=True)
class Shard:
    """Sessions `first` to `first + count` of a format."""

    name: str
    seed: int
    first: int
    count: int


def runner(folder: Path) -> Callable[[Shard], tuple[list[Result], list[Input]]]:
    """What runs a shard; `folder` is for files that go afterwards.

    Nothing is stored before all shards are done: the corpus is what mutations begin with.
    """

    def run(shard: Shard) -> tuple[list[Result], list[Input]]:
        results: list[Result] = []
        inputs: list[Input] = []
        for _ in range(MAX_DEATHS):
            handle, name = tempfile.mkstemp(dir=folder)
            os.close(handle)
            progress = Path(name)
            done = start(shard, progress)
            if done.returncode == 0:
                result: Result = json.loads(done.stdout)
                inputs += [_input(shard, **fault) for fault in result["faults"]]
                inputs += [
                    Input(
                        shard.name, one["options"], [[bytes.fromhex(part) for part in one["parts"]]]
                    )
                    for one in result["new"]
                ]
                return [*results, result], inputs
            index = int.from_bytes(progress.read_bytes() or b"\0", "little")
            reason = f"the process ended with {done.returncode}: {done.stderr[-300:]!r}"
            inputs.append(_input(shard, index, None, reason))
            rest = shard.first + shard.count - index - 1
            if rest <= 0:
                break
            shard = Shard(shard.name, shard.seed, index + 1, rest)
        return results, inputs

    return run


def start(shard: Shard, progress: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """The worker of a shard, run to its end; `before` are arguments of Python before `-m`."""
    arguments = [shard.name, str(shard.seed), str(shard.first), str(shard.count), str(progress)]
    return subprocess.run(
        [sys.executable, *before, "-m", "tests.fuzz.worker", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def _input(shard: Shard, index: int, steps: int | None, detail: str) -> Input:
    """What a fault came of: the inputs of a session up to the last one."""
    found = session(TARGETS[shard.name](), pool_of(shard.name), shard.seed, index)
    messages = [step.message for step in found.steps[:steps]]
    return Input(shard.name, found.variant.options, messages, f"session {index}: {detail}")
