"""The `cade` command. Each subcommand is a module here, loaded only when it is called.

A module has `HELP`, `EXAMPLE`, `add_arguments(parser)` and `run(arguments)`, which returns the exit
code. Nothing heavy is imported at this level: `cade --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Protocol, cast

from cade.errors import CadeError, UsageError
from cade.version import __version__

COMMANDS = {
    "run": "the daemon: from the detector to HDF5",
    "demo": "an emulated beamline and the real daemon, from end to end",
    "process": "files in, one HDF5 file out",
    "emulate": "a detector that publishes simulated, stored or recorded frames",
    "record": "store the raw messages of a live stream",
    "simulate": "references, data sets and phantoms with known truth",
    "train": "train a network",
    "retrain": "train a network on with a beamline's own references",
    "references": "list, show, add, remove and export references",
    "keys": "make and show keys for encrypted streams",
    "config": "show, check and make configurations",
    "evaluate": "how good the trackers are, against truth and the limit",
}
"""Every subcommand, in the order of the help, with the module's `HELP`."""

INTERRUPTED = 130


class Command(Protocol):
    """What a module in `daemon.commands` offers."""

    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's options."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do the work and return the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cade` with these arguments, those of the process if None; returns the exit code."""
    # Else the threads of decompression spin between two frames, and take the cores from tracking.
    # It must be set before the first library with OpenMP is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    given = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in given  # taken anywhere: people add it at the end of the failed command
    words = [word for word in given if word != "--debug"]
    try:
        return _run(words)
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001
        if debug:
            traceback.print_exc()
        return _report(error)


def available() -> dict[str, str]:
    """The subcommands of this installation and their one-line help."""
    return {
        name: text
        for name, text in COMMANDS.items()
        if importlib.util.find_spec(f"{__name__}.{name}") is not None
    }


def _run(words: list[str]) -> int:
    name = next((word for word in words if not word.startswith("-")), "")
    parser = argparse.ArgumentParser("cade", description="Live X-ray speckle-based imaging.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--debug", action="store_true", help="show where a failure happened")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command, text in available().items():
        _add(commands.add_parser(command, help=text), command if command == name else None)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    if arguments.version:
        sys.stdout.write(f"cade {__version__}\n")
        return 0
    if not name:
        parser.print_help(sys.stderr)
        return 2
    code: int = arguments.run(arguments)
    sys.stdout.flush()  # a closed pipe is to be noticed here, not while Python exits
    return code


def _add(parser: argparse.ArgumentParser, name: str | None) -> None:
    """Give the parser of the chosen command its description, example and options."""
    if name is None:
        return
    module = cast("Command", importlib.import_module(f"{__name__}.{name}"))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = module.HELP
    parser.epilog = f"example:\n  {module.EXAMPLE}"
    parser.set_defaults(run=module.run)
    module.add_arguments(parser)


def _report(error: Exception) -> int:
    """Say on standard error what is wrong, and choose the exit code."""
    if isinstance(error, CadeError):
        _complain(str(error))
        return 2 if isinstance(error, UsageError) else 1
    message = " ".join(str(error).split())
    _complain(f"{type(error).__name__}: {message}; run with --debug to see where")
    return 1


def _complain(text: str) -> None:
    for line in text.splitlines():
        sys.stderr.write(f"cade: {line}\n")
