"""The same function for many jobs, on several processes of one computing thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import TypeVar

import torch

from cade.errors import CadeError

Job = TypeVar("Job")
Result = TypeVar("Result")


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def in_order(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: int
) -> Iterator[Result]:
    """`function` of every job, in the order of the jobs.

    One thread computes each, so results do not depend on how many workers there are. Processes are
    spawned; one worker needs none. They end when the iterator is closed (after the jobs that they
    are at), and when this process dies in whatever way. An interrupt from the keyboard reaches only
    this process.

    Args:
        function: of a module, so that it can be sent to a process.
        jobs: what it is called with.
        workers: number of processes.

    Raises:
        CadeError: a process died.
    """
    if workers == 1:
        for job in jobs:
            with _one_thread():
                result = function(job)
            yield result
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_enter)
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            with _interrupts_held():
                waiting.append(pool.submit(function, job))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise CadeError(
            "a worker process died, perhaps for want of memory; continue with --resume and fewer "
            "--workers"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _enter() -> None:
    """What a new process does first."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        leave = threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True)
        leave.start()


def _leave_with(sentinel: int) -> None:
    """A killed parent cannot end its workers, and they would wait for work for ever."""
    connection.wait([sentinel])
    os._exit(1)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes begun meanwhile inherit that SIGINT, which a terminal sends to all, is blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
