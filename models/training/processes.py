"""Training on several processes or machines, started by torchrun.

Plain `torch.distributed`: every process computes some shards of a batch, gradients are averaged by
DistributedDataParallel (gloo between CPUs, NCCL between GPUs). The first process, the leader, reads
and writes all files; the others need no common file system.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from cade.errors import UsageError

_PATIENCE = timedelta(hours=1)
"""Others wait that long for the leader, which makes the patterns. A process that dies ends all at
once: torchrun sees to it."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of how many processes this one is."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that reads and writes."""
        return self.rank == 0

    def shards(self, total: int) -> range:
        """The shards of a batch that are this process's.

        Raises:
            UsageError: they cannot be shared out evenly.
        """
        if total % self.count:
            raise UsageError(
                f"{self.count} processes cannot share the {total} shards of a batch evenly: start "
                f"as many processes as divide {total}, or change optimiser.shards in the recipe"
            )
        each = total // self.count
        return range(self.rank * each, (self.rank + 1) * each)

    def from_leader(self, value: Any) -> Any:
        """The leader's value, on every process."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, device=torch.device("cpu"))
        return values[0]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Values added up over all processes."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values


ALONE = Processes()


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun has started, `ALONE` without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    yield Processes(distributed.get_rank(), count)
    # After a failure the others are not there to take leave of.
    distributed.destroy_process_group()


def own_device(device: torch.device, processes: Processes) -> torch.device:
    """This process's GPU, where `device` says only that it should be one."""
    if str(device) != "cuda" or processes.count == 1:
        return device
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(own)
    return own
