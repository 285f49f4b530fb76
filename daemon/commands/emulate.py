"""`cade emulate`: a detector that publishes simulated, stored or recorded frames."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from cade.errors import CadeError, UsageError
from cade.frames import Beamline
from cade.wire import FORMATS
from cade.wire.compression import Compression
from cade.wire.recording import RecordingReader
from daemon.commands.argument_types import count, positive, quantity
from daemon.commands.emulate_faults import add_faults, chosen_faults
from daemon.commands.emulate_frames import add_frames, emulated_series
from simulator.emulator import Emulator, EmulatorSummary
from simulator.emulator_log import SeriesLog
from simulator.faults import Faults
from simulator.pva_emulator import FORMAT as PVA
from simulator.pva_emulator import PvaEmulator

HELP = "a detector that publishes simulated, stored or recorded frames"
EXAMPLE = "cade emulate --format dectris-v2 --frames 60 --endpoint tcp://127.0.0.1:31001 --rate 10"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is published, where, and what is broken."""
    add = parser.add_argument
    add(
        "--endpoint",
        required=True,
        metavar="tcp://HOST:PORT",
        help="bound; port * is a free one; for ntndarray pva:// and the name of a PV",
    )
    add("--format", choices=(*FORMATS, PVA), help="wire format; needed, as is --frames")
    add("--frames", type=positive, metavar="N", help="images of a series")
    add("--series", type=positive, default=1, metavar="N", help="how often, each a series (1)")
    add("--rate", type=quantity, metavar="HZ", help="images/s; default: no limit (ntndarray: 10)")
    add(
        "--socket", choices=("push", "pub", "rep"), help="default: what the format's detector binds"
    )
    add("--timeout", type=quantity, default=60.0, metavar="S", help="wait this long for a receiver")
    add("--seed", type=count, default=0, metavar="N", help="of simulated frames and of faults")
    add("--log", type=Path, metavar="FILE", help="new file: what was sent, a JSON object a series")
    add(
        "--recording",
        type=Path,
        metavar="FILE",
        help="send again what `cade record` has stored, without --format and --frames, in the "
        "recorded times or with --rate",
    )
    compression = parser.add_mutually_exclusive_group()
    compression.add_argument(
        "--bslz4", action="store_true", help="compress the images (DECTRIS: the default)"
    )
    compression.add_argument("--no-compression", action="store_true", help="do not compress")
    add_frames(parser)
    optics = parser.add_argument_group("what the start messages say")
    optics.add_argument("--role-key", default="role", metavar="KEY", help="key that has the role")
    optics.add_argument("--energy-kev", type=quantity, metavar="E", help="photon energy")
    optics.add_argument("--pixel-um", type=quantity, metavar="P", help="detector pixel")
    add_faults(parser)


def run(arguments: argparse.Namespace) -> int:
    """Publish, and say what was sent."""
    if arguments.recording is not None:
        return _replay(arguments)
    if arguments.format is None or arguments.frames is None:
        raise UsageError("cade emulate needs --format and --frames, or --recording")
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(_log(arguments.log))
        emulator = stack.enter_context(_emulator(arguments))
        _print(f"publishing {arguments.format} on {emulator.endpoint}")
        # Frames are made after binding, so that receivers start meanwhile, and before sending, so
        # that they come as fast as a detector's.
        series = emulated_series(arguments)
        faults = chosen_faults(arguments, sum(one.image_count for one in series))
        summary = emulator.publish(
            series, faults, seed=arguments.seed, stall_s=arguments.stall_s, report=report
        )
    _print(_line(summary, faults))
    return 0


def _emulator(
    arguments: argparse.Namespace,
) -> contextlib.AbstractContextManager[Emulator | PvaEmulator]:
    if arguments.format == PVA:
        if arguments.socket is not None:
            raise UsageError(f"--socket goes with ZeroMQ: {PVA} has no such socket")
        return PvaEmulator(
            arguments.endpoint,
            rate_hz=arguments.rate,
            compression=_compression(arguments),
            role_key=arguments.role_key,
            beamline=_beamline(arguments),
            timeout_s=arguments.timeout,
        )
    return Emulator(
        arguments.format,
        arguments.endpoint,
        socket=arguments.socket,
        rate_hz=arguments.rate,
        compression=_compression(arguments),
        role_key=arguments.role_key,
        beamline=_beamline(arguments),
        timeout_s=arguments.timeout,
    )


def _replay(arguments: argparse.Namespace) -> int:
    """Send a recording again."""
    from simulator.emulator_socket import DetectorSocket
    from simulator.replay import SENDERS, replay

    others = ("format", "frames", "source", "log")
    given = [f"--{name}" for name in others if getattr(arguments, name) is not None]
    if given or chosen_faults(arguments, 1) != Faults():
        raise UsageError(
            f"{given[0] if given else 'faults'} and --recording do not go together: "
            "a recording is sent as it is"
        )
    with RecordingReader(arguments.recording) as recording:
        kind = arguments.socket or SENDERS[recording.header.socket]
        with DetectorSocket(kind, arguments.endpoint, arguments.timeout) as socket:
            what = recording.header.wire_format or "a recording"
            _print(f"publishing {what} on {socket.endpoint}")
            summary = replay(recording.messages(), socket, arguments.rate)
        if recording.cut_bytes:
            sys.stderr.write(
                f"cade: {arguments.recording}: its last message was never finished "
                f"({recording.cut_bytes} bytes), and was not sent\n"
            )
    _print(f"sent {summary.messages} messages, {summary.size_bytes / 1e6:.1f} MB")
    return 0


@contextlib.contextmanager
def _log(path: Path | None) -> Iterator[Callable[[SeriesLog], object]]:
    """What writes a line for every series that has been sent."""
    if path is None:
        yield lambda _: None
        return
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        raise CadeError(
            f"{path}: exists and is never overwritten; remove it or name another file"
        ) from None
    except OSError as error:
        raise CadeError(f"{path}: cannot be written ({error.strerror})") from error
    with file:
        try:
            yield lambda log: print(log.to_json(), file=file, flush=True)
        except BaseException:
            if not file.tell():  # so that the same command may be tried again
                path.unlink(missing_ok=True)
            raise


def _compression(arguments: argparse.Namespace) -> Compression | None:
    by_default = arguments.format.startswith("dectris") and not arguments.no_compression
    wanted = arguments.bslz4 or by_default
    return "bslz4" if wanted else None


def _beamline(arguments: argparse.Namespace) -> Beamline:
    return Beamline(
        energy_ev=arguments.energy_kev and arguments.energy_kev * 1e3,
        pixel_size_m=arguments.pixel_um and arguments.pixel_um * 1e-6,
    )


def _line(summary: EmulatorSummary, faults: Faults) -> str:
    expected = summary.expected
    refused = ", ".join(f"{number} {reason}" for reason, number in expected.rejected.items())
    return (
        f"sent {len(summary.series)} series of {summary.images} images in all, "
        f"{summary.size_bytes / 1e6:.1f} MB; faults: {faults or 'none'}\n"
        f"a receiver should count {expected.received} received, {expected.good} good, "
        f"{refused or 'none'} rejected, {expected.missing} missing"
    )


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()  # another process waits for the endpoint
