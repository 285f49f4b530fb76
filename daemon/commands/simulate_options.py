"""What the resumable parts of `cade simulate` share: options, progress, and the way out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from cade.errors import UsageError
from daemon.commands.argument_types import positive


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--workers` and `--resume`."""
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="processes; as many as cores if not given"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue what was killed, interrupted or out of room"
    )


def sheet_path(arguments: argparse.Namespace) -> Path:
    """Where the contact sheet of the output goes: beside it, and never over another file.

    Raises:
        UsageError: something is there, and this is not the continuation of a run that made it.
    """
    path: Path = arguments.output.with_suffix(".png")
    if path.exists() and not arguments.resume:
        raise UsageError(
            f"{path}, the contact sheet, exists already; choose another output, or remove it first"
        )
    return path


@contextmanager
def progress(output: Path, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, told how much is there; after an interrupt it says how to go on."""
    with tqdm(total=total, unit=unit, disable=None) as bar:
        done: list[int] = []

        def report(count: int) -> None:
            if not done:
                bar.initial = bar.n = (
                    count  # so that what an earlier run did is not counted as fast
                )
            bar.update(count - bar.n)
            done[:] = [count]

        try:
            yield report
        except KeyboardInterrupt:
            bar.close()
            if done:
                sys.stderr.write(
                    f"cade: {output}: {done[0]} of {total} {unit}s are kept; "
                    "continue with --resume\n"
                )
            raise
