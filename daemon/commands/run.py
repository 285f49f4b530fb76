"""`cade run`: the daemon."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

HELP = "the daemon: from the detector to HDF5"
EXAMPLE = "cade run --config /etc/cade/cade.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, metavar="F", help="configuration file (TOML)")


def run(arguments: argparse.Namespace) -> int:
    """Run until stopped."""
    from daemon.configuration import load_settings
    from daemon.log import set_up_logging
    from daemon.service import Service

    settings = load_settings(arguments.config)
    set_up_logging(settings.log)
    service = Service(settings)
    # The handler only sets an event: logging in it could wait for a lock that it interrupted.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.request_stop())
    return service.run()
