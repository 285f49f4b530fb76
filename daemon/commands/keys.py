"""`cade keys`: CURVE keys for encrypted streams."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from daemon.sources.stream_keys import read_keys, write_keys

HELP = "make and show keys for encrypted streams"
EXAMPLE = "cade keys generate /etc/cade/keys daemon && cade keys show /etc/cade/keys/daemon.key"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `generate` and `show`."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    generate = actions.add_parser("generate", help="make a key pair; nothing is overwritten")
    generate.add_argument("folder", type=Path, metavar="DIR", help="made where it is not there")
    generate.add_argument("name", metavar="NAME", help="makes NAME.key and NAME.key_secret")
    generate.set_defaults(action=_generate)
    show = actions.add_parser("show", help="print the public key of a file, never the secret one")
    show.add_argument("file", type=Path, metavar="FILE", help="*.key or *.key_secret")
    show.set_defaults(action=_show)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    sys.stdout.write(arguments.action(arguments))
    return 0


def _generate(arguments: argparse.Namespace) -> str:
    public_file, secret_file, keys = write_keys(arguments.folder, arguments.name)
    return (
        f"{secret_file}: both keys, for curve_secret_key; it never leaves this machine\n"
        f"{public_file}: the public key, for the other side\n"
        f"{keys.public.decode()}\n"
    )


def _show(arguments: argparse.Namespace) -> str:
    return f"{read_keys(arguments.file).public.decode()}\n"
