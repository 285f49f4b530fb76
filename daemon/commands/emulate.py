"""`cade emulate`: a detector that publishes simulated or stored frames."""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from cade.errors import UsageError
from cade.files import read_frames
from cade.frames import Beamline, Image, Role
from cade.wire import FORMATS
from cade.wire.compression import Compression
from simulator.emulator import EmulatedSeries, Emulator, EmulatorSummary
from simulator.faults import Faults

HELP = "a detector that publishes simulated or stored frames"
EXAMPLE = "cade emulate --format dectris-v2 --frames 60 --endpoint tcp://127.0.0.1:31001 --rate 10"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is published, where, and what is broken."""
    parser.add_argument("--format", required=True, choices=FORMATS, help="wire format")
    parser.add_argument(
        "--endpoint", required=True, metavar="tcp://HOST:PORT", help="bound; port * is a free one"
    )
    parser.add_argument("--frames", required=True, type=_positive_int, metavar="N", help="images")
    parser.add_argument(
        "--socket", choices=("push", "pub", "rep"), help="default: what the format's detector binds"
    )
    parser.add_argument("--rate", type=_positive, metavar="HZ", help="images/s; default: no limit")
    parser.add_argument(
        "--timeout", type=_positive, default=60.0, metavar="S", help="wait this long for a receiver"
    )
    compression = parser.add_mutually_exclusive_group()
    compression.add_argument(
        "--bslz4", action="store_true", help="compress the images (DECTRIS: the default)"
    )
    compression.add_argument("--no-compression", action="store_true", help="do not compress")
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
        "--shape", type=_positive_int, nargs=2, default=(512, 512), metavar=("H", "W"), help="px"
    )
    simulated.add_argument("--seed", type=int, default=0, metavar="N")
    optics = parser.add_argument_group("what the start messages say")
    optics.add_argument("--role-key", default="role", metavar="KEY", help="key that has the role")
    optics.add_argument("--energy-kev", type=_positive, metavar="E", help="photon energy")
    optics.add_argument("--pixel-um", type=_positive, metavar="P", help="detector pixel")
    faults = parser.add_argument_group("broken messages, sent beside the good ones")
    for name, text in (
        ("--truncate", "half of a message"),
        ("--corrupt", "hostile bytes"),
        ("--wrong-shape", "image of another shape"),
        ("--stray", "image after the end of its series"),
    ):
        faults.add_argument(name, type=_count, default=0, metavar="N", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Publish, and say what was sent."""
    with Emulator(
        arguments.format,
        arguments.endpoint,
        socket=arguments.socket,
        rate_hz=arguments.rate,
        compression=_compression(arguments),
        role_key=arguments.role_key,
        beamline=_beamline(arguments),
        timeout_s=arguments.timeout,
    ) as emulator:
        _print(f"publishing {arguments.format} on {emulator.endpoint}")
        # Frames are made after binding, so that receivers start meanwhile, and before sending, so
        # that they come as fast as a detector's.
        series = _stored(arguments) if arguments.source else _simulated(arguments)
        summary = emulator.publish(series, _faults(arguments))
    _print(_line(summary))
    return 0


def _stored(arguments: argparse.Namespace) -> list[EmulatedSeries]:
    """The files' frames as one series, from the beginning again when they run out."""
    images = _read("--source", arguments.source)
    role = Role(arguments.role) if arguments.role else None
    series = [EmulatedSeries(role, arguments.frames, itertools.cycle(images))]
    if arguments.reference:
        references = _read("--reference", arguments.reference)
        series.insert(0, EmulatedSeries(Role.REFERENCE, len(references), references))
    return series


def _read(option: str, files: list[Path]) -> list[Image]:
    images = [image for file in files for image in read_frames(file)]
    if not images:
        raise UsageError(f"{files[0]}: has no frames to publish")
    for image in images:
        if (image.shape, image.dtype) != (images[0].shape, images[0].dtype):
            raise UsageError(
                f"{option}: the files' frames differ in shape or dtype; use equal ones"
            )
    return images


def _simulated(arguments: argparse.Namespace) -> list[EmulatedSeries]:
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
    return series


def _compression(arguments: argparse.Namespace) -> Compression | None:
    by_default = arguments.format.startswith("dectris") and not arguments.no_compression
    wanted = arguments.bslz4 or by_default
    return "bslz4" if wanted else None


def _beamline(arguments: argparse.Namespace) -> Beamline:
    return Beamline(
        energy_ev=arguments.energy_kev and arguments.energy_kev * 1e3,
        pixel_size_m=arguments.pixel_um and arguments.pixel_um * 1e-6,
    )


def _faults(arguments: argparse.Namespace) -> Faults:
    return Faults(arguments.truncate, arguments.corrupt, arguments.wrong_shape, arguments.stray)


def _line(summary: EmulatorSummary) -> str:
    return (
        f"sent {summary.images} images in {summary.series} series and "
        f"{summary.faults.total} broken messages, {summary.size_bytes / 1e6:.1f} MB"
    )


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()  # another process waits for the endpoint


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text}")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, not {text}")
    return value
