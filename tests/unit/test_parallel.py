"""Work on several processes: its order, its failures, and that no process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cade.errors import CadeError, UsageError
from simulator.parallel import in_order, usable_cores

DEADLINE_S = 60.0


def square(value: int) -> tuple[int, int, int]:
    if value == 6:
        raise UsageError("six is too many")
    return value * value, torch.get_num_threads(), os.getpid()


def die(value: int) -> int:
    if value == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def own_pid(_: int) -> int:
    time.sleep(0.05)  # so that every worker gets its share
    return os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_from_one_thread_each(workers: int) -> None:
    before = torch.get_num_threads()
    results = in_order(square, range(9), workers)
    found = [next(results) for _ in range(6)]
    assert [(value, threads) for value, threads, _ in found] == [(i * i, 1) for i in range(6)]
    with pytest.raises(UsageError, match="six is too many"):
        next(results)
    assert torch.get_num_threads() == before
    others = {pid for _, _, pid in found} - {os.getpid()}
    assert bool(others) == (workers > 1)
    assert not any(running(pid) for pid in others)
    assert usable_cores() >= 1


def test_a_worker_that_dies() -> None:
    with pytest.raises(CadeError, match=r"a worker process died.+--resume and fewer --workers"):
        list(in_order(die, range(9), 2))


def running(pid: int) -> bool:
    """Whether a process is there and not only waiting for its parent to notice its end."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


KILLED = """
import sys
sys.path.insert(0, {folder!r})
from simulator.parallel import in_order
from test_parallel import own_pid
if __name__ == "__main__":
    for pid in in_order(own_pid, range(100_000), 2):
        print(pid, flush=True)
"""


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(KILLED.format(folder=str(Path(__file__).parent)))
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
    ) as parent:
        assert parent.stdout is not None
        pids = {int(parent.stdout.readline()) for _ in range(8)}
        assert all(running(pid) for pid in pids)
        parent.kill()
    end = time.monotonic() + DEADLINE_S
    while any(running(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)
