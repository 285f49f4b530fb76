"""The faults of `cade emulate`: how many of each, as a number or as a share of the images."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

from daemon.commands.argument_types import count, quantity
from simulator.faults import Faults

_HELP = {
    "drop": "images that are not sent",
    "duplicate": "images that are sent twice",
    "reorder": "images that are sent behind the next one",
    "truncate": "images whose message is cut short",
    "corrupt": "images whose message is damaged where the format can notice",
    "wrong_shape": "images that are sent in another shape",
    "stall": "pauses in mid-series",
    "stray_series": "images of another, aborted series in mid-series, beside the others",
    "stray": "images after the end of their series, beside the others",
}


@dataclass(frozen=True, slots=True)
class Amount:
    """A number, or a share of the images."""

    value: float
    is_share: bool

    def of(self, images: int) -> int:
        """How many these are of so many images, rounded."""
        return math.floor(self.value * images + 0.5) if self.is_share else int(self.value)


def amount(text: str) -> Amount:
    """`12` or `2%`, for argparse."""
    number, sign, rest = text.partition("%")
    if rest or not sign:
        return Amount(count(text), is_share=False)
    share = float(number) / 100
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0% to 100%, not {text}")
    return Amount(share, is_share=True)


def add_faults(parser: argparse.ArgumentParser) -> None:
    """Declare an option for every fault."""
    group = parser.add_argument_group(
        "faults",
        "Each a number, or a percentage of all images. An image meets at most one of the first "
        "six, the first image of a series none. --seed draws which.",
    )
    none = Amount(0, is_share=False)
    for name, text in _HELP.items():
        option = f"--{name.replace('_', '-')}"
        group.add_argument(option, type=amount, default=none, metavar="N|P%", help=text)
    group.add_argument(
        "--stall-s", type=quantity, default=1.0, metavar="S", help="length of a stall (1)"
    )


def chosen_faults(arguments: argparse.Namespace, images: int) -> Faults:
    """How many of each that is, of so many images."""
    return Faults(**{name: getattr(arguments, name).of(images) for name in _HELP})
