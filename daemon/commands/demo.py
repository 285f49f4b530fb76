"""`cade demo`: an emulated beamline on loopback and the real daemon, from end to end."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HELP = "an emulated beamline and the real daemon, from end to end"
EXAMPLE = "cade demo --keep"
LEAST_FRAMES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--keep", action="store_true", help="keep references and logs beside the result")
    add("--frames", type=int, default=64, metavar="N", help="sample frames (64)")
    add("--shape", type=int, nargs=2, default=(512, 512), metavar=("H", "W"), help="px")
    add("--output", type=Path, metavar="FOLDER", help="where the result goes (a new temporary one)")
    add("--tracker", default="cade", metavar="NAME", help="cade, zncc or umpa")
    add("--weights", default="cade", metavar="NAME|FILE", help="weights of the cade tracker")


def run(arguments: argparse.Namespace) -> int:
    """Run the emulated beamline; 0 where every good frame came through within the bounds."""
    from cade.errors import UsageError
    from daemon.commands.demo_beamline import DemoBeamline
    from daemon.commands.demo_report import compare, print_report, save_demo_picture, verdict

    if arguments.frames < LEAST_FRAMES:
        raise UsageError(f"--frames must be at least {LEAST_FRAMES}, not {arguments.frames}")
    given = arguments.output
    folder = given or Path(tempfile.mkdtemp(prefix="cade-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    shape = (arguments.shape[0], arguments.shape[1])
    beamline = DemoBeamline(
        folder, shape, arguments.frames, tracker=arguments.tracker, weights=arguments.weights
    )
    outcome = beamline.run()
    comparison = compare(outcome.result, shape)
    print_report(outcome, comparison)
    picture = folder / "demo.png"
    save_demo_picture(outcome.result, picture, shape)
    problems = verdict(outcome, comparison)
    for problem in problems:
        sys.stderr.write(f"cade: demo: {problem}\n")
    if not arguments.keep and not problems:
        beamline.tidy()
    sys.stdout.write(f"result   {outcome.result}\npicture  {picture}\n")
    if problems:
        sys.stdout.write(f"logs     {folder / 'daemon.log'}\n")
    return 1 if problems else 0
