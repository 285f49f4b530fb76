"""What `cade emulate` shows: stored or simulated frames, as series."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

from cade.errors import UsageError
from cade.files import read_frames
from cade.frames import Image, Role
from daemon.commands.argument_types import positive
from simulator.emulated_series import EmulatedSeries


def add_frames(parser: argparse.ArgumentParser) -> None:
    """Declare where frames come from."""
    images = parser.add_argument_group("stored frames, instead of simulated ones")
    images.add_argument(
        "--source", type=Path, nargs="+", metavar="FILE", help="TIFF, HDF5 or .npy; repeated"
    )
    images.add_argument("--role", choices=tuple(Role), help="what the stream says they are")
    images.add_argument(
        "--reference", type=Path, nargs="+", metavar="FILE", help="sent before, as references"
    )
    simulated = parser.add_argument_group("simulated frames: references, then samples")
    simulated.add_argument(
        "--shape", type=positive, nargs=2, default=(512, 512), metavar=("H", "W"), help="px"
    )


def emulated_series(arguments: argparse.Namespace) -> list[EmulatedSeries]:
    """References, where there are any, and `--series` times the frames.

    Raises:
        UsageError: options that do not go together, or files without frames of one form.
    """
    before, frames = _stored(arguments) if arguments.source else _simulated(arguments)
    return [*before, *[frames] * arguments.series]


def _stored(arguments: argparse.Namespace) -> tuple[list[EmulatedSeries], EmulatedSeries]:
    """The files' frames as one series, from the beginning again when they run out."""
    images = _read("--source", arguments.source)
    references = _read("--reference", arguments.reference) if arguments.reference else []
    before = [EmulatedSeries(Role.REFERENCE, len(references), references)] if references else []
    role = Role(arguments.role) if arguments.role else None
    return before, EmulatedSeries(role, arguments.frames, _Repeated(images))


class _Repeated:
    """Images for ever, from the first again for whoever iterates anew."""

    def __init__(self, images: list[Image]) -> None:
        self._images = images

    def __iter__(self) -> Iterator[Image]:
        return itertools.cycle(self._images)


def _read(option: str, files: list[Path]) -> list[Image]:
    images = [image for file in files for image in read_frames(file)]
    if not images:
        raise UsageError(f"{files[0]}: has no frames to publish")
    if any(_form(image) != _form(images[0]) for image in images):
        raise UsageError(f"{option}: the files' frames differ in shape or dtype; use equal ones")
    return images


def _form(image: Image) -> tuple[object, ...]:
    return image.shape, image.dtype


def _simulated(arguments: argparse.Namespace) -> tuple[list[EmulatedSeries], EmulatedSeries]:
    """References and samples, each a series."""
    if arguments.role or arguments.reference:
        option = "--role" if arguments.role else "--reference"
        raise UsageError(f"{option} goes with --source; simulated frames know their roles")
    from simulator.scan import demo_frames  # pulls in the simulation

    height, width = arguments.shape
    frames: Iterator[tuple[Role, Image]] = demo_frames(
        arguments.frames, (height, width), arguments.seed
    )
    series = []
    for role, group in itertools.groupby(frames, key=lambda frame: frame[0]):
        images = [image for _, image in group]
        series.append(EmulatedSeries(role, len(images), images))
    *before, last = series
    return before, last
