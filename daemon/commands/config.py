"""`cade config`: show, check and make configurations."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cade.errors import CadeError
from daemon.configuration import load_settings, settings_schema, settings_toml, shipped

HELP = "show, check and make configurations"
EXAMPLE = "cade config init --example dectris beamline.toml && cade config check -c beamline.toml"

EXAMPLES = ("default", "folder", "dectris", "areadetector", "pva")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `show`, `check`, `schema`, `pvs`, `screen` and `init`."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print the effective settings as TOML")
    check = actions.add_parser("check", help="say whether the settings are valid")
    for action, function in ((show, _show), (check, _check)):
        action.add_argument(
            "-c", "--config", type=Path, metavar="FILE", help="file over the default settings"
        )
        action.set_defaults(action=function)
    schema = actions.add_parser("schema", help="print the JSON schema, for editors")
    schema.set_defaults(action=_schema)
    pvs = actions.add_parser("pvs", help="print the list of the daemon's own PVs, as Markdown")
    pvs.add_argument("--prefix", default="BL01:CADE", help="what their names begin with")
    pvs.set_defaults(action=_pvs)
    screen = actions.add_parser("screen", help="print a Phoebus screen (.bob) for these PVs")
    screen.set_defaults(action=lambda _: shipped("cade.bob"))
    init = actions.add_parser("init", help="write a commented configuration to start from")
    init.add_argument("file", type=Path, nargs="?", default=Path("cade.toml"), metavar="FILE")
    init.add_argument("--example", choices=EXAMPLES, default="default", help="which one")
    init.set_defaults(action=_init)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    sys.stdout.write(arguments.action(arguments))
    return 0


def _show(arguments: argparse.Namespace) -> str:
    return settings_toml(load_settings(arguments.config))


def _check(arguments: argparse.Namespace) -> str:
    settings = load_settings(arguments.config)
    count = len(settings.sources)
    return f"{arguments.config or 'default settings'}: valid; number of sources: {count}\n"


def _schema(_: argparse.Namespace) -> str:
    return settings_schema()


def _pvs(arguments: argparse.Namespace) -> str:
    from daemon.pv_server.document import markdown

    return markdown(arguments.prefix)


def _init(arguments: argparse.Namespace) -> str:
    text = shipped(f"{arguments.example}.toml")
    try:
        with arguments.file.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CadeError(f"{arguments.file}: exists; remove it or name another file") from None
    except OSError as error:
        raise CadeError(
            f"{arguments.file}: cannot be written ({error.strerror}); name another place"
        ) from None
    return f"{arguments.file}: written; edit it, then cade config check -c {arguments.file}\n"
