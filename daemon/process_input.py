"""What `cade process` needs before its first sample: reference, correction, geometry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from cade.errors import CadeError, UsageError
from cade.files import read_beamline, read_frames
from cade.frames import Beamline, Frame, Image, Reference, Role
from cade.geometry import Geometry
from daemon.checks import check_content
from daemon.corrections import Correction, make_correction
from daemon.reference_average import Average, RunningAverage
from daemon.reference_screen import ScreenedAverage
from daemon.settings import CheckSettings, Settings


@dataclass(frozen=True, slots=True)
class Files:
    """What is processed: each file may hold several frames."""

    references: tuple[Path, ...]
    samples: tuple[Path, ...]
    flats: tuple[Path, ...] = ()
    darks: tuple[Path, ...] = ()


def average_reference(files: Files, checks: CheckSettings) -> Reference:
    """The average of all frames of the reference files.

    Raises:
        CadeError: one of them cannot be read or used.
    """
    screened = ScreenedAverage()
    for path, image in _usable(files.references, Role.REFERENCE, checks):
        with _named(path, Role.REFERENCE):
            left_out = screened.add(image, f"frame {screened.taken} ({path})")
        for line in left_out:
            structlog.get_logger(__name__).warning("reference frame left out", frame=str(line))
    result = screened.result()
    first = files.references[0]
    return Reference(first.name, result.mean, result.count, first.stat().st_mtime)


def average_correction(files: Files, reference: Image, checks: CheckSettings) -> Correction:
    """What the flat and dark files make, for frames of the reference's shape.

    Raises:
        CadeError: one of them cannot be read or used.
    """
    return make_correction(
        _mean(files.flats, Role.FLAT, reference.shape, checks),
        _mean(files.darks, Role.DARK, reference.shape, checks),
    )


def read_optics(files: Files, settings: Settings, *, needed: bool) -> Beamline:
    """What the first file that completes the settings says, where they leave something open.

    Raises:
        CadeError: no file does, and one could not be read or understood.
    """
    found, problem = Beamline(), None
    if not needed or not settings.geometry.missing(found):
        return found
    for path in (*files.samples, *files.references):
        try:
            found = read_beamline(path)
        except CadeError as error:  # its images may be good all the same
            problem = problem or error
            continue
        if not settings.geometry.missing(found):
            return found
    if problem is not None:
        raise problem
    return found


def resolve_geometry(settings: Settings, beamline: Beamline) -> Geometry:
    """The geometry of settings and metadata.

    Raises:
        UsageError: something is missing; the message names the options.
    """
    geometry = settings.geometry.resolve(beamline)
    if geometry is None:
        options = {
            "energy_ev": "--energy-kev",
            "distance_m": "--distance-m",
            "pixel_size_m": "--pixel-um",
        }
        missing = [f"{n} ({options[n]})" for n in settings.geometry.missing(beamline)]
        raise UsageError(
            f"no {', no '.join(missing)}: give the option, set it in [geometry] of the "
            f"configuration, or ask for --displacement-only"
        )
    return geometry


def _average(paths: Sequence[Path], role: Role, checks: CheckSettings) -> Average:
    """The mean over all frames of all files, each of which must be usable."""
    running = RunningAverage()
    for path, image in _usable(paths, role, checks):
        with _named(path, role):
            running.add(image)
    return running.result()


def _usable(
    paths: Sequence[Path], role: Role, checks: CheckSettings
) -> Iterator[tuple[Path, Image]]:
    """All frames of all files; raises at the first that is not usable."""
    for path in paths:
        for number, image in enumerate(read_frames(path)):
            problem = check_content(Frame("", number, image, 0.0), checks, role)
            if problem is not None:
                raise CadeError(
                    f"{path}: cannot serve as {role} ({problem.reason}: {problem.detail})"
                )
            yield path, image


@contextmanager
def _named(path: Path, role: Role) -> Iterator[None]:
    try:
        yield
    except CadeError as error:
        raise CadeError(f"{path}: cannot serve as {role} ({error})") from None


def _mean(
    paths: Sequence[Path], role: Role, shape: tuple[int, ...], checks: CheckSettings
) -> Image | None:
    if not paths:
        return None
    image = _average(paths, role, checks).mean
    if image.shape != shape:
        raise CadeError(
            f"{paths[0]}: the {role} has shape {image.shape}, the reference {shape}; "
            "take both with the same region of the detector"
        )
    return image
