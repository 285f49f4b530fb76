"""What `cade process` needs before its first sample: reference, correction, geometry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from cade.errors import CadeError, UsageError
from cade.files import read, read_beamline
from cade.frames import Beamline, Frame, Image, Reference, Role
from cade.geometry import Geometry
from daemon.checks import PLAIN, check_content
from daemon.correction.correction import Correction, make_correction
from daemon.correction.detector import Detector
from daemon.correction.monitor import usable
from daemon.references.average import Average, RunningAverage
from daemon.references.screen import ScreenedAverage
from daemon.settings import CheckSettings, Settings


@dataclass(frozen=True, slots=True)
class Files:
    """What is processed: each file may hold several frames.

    Monitors count before those in the files: one for the references, one for all samples or for
    each sample frame.

    Raises:
        UsageError: a monitor value that nothing can be divided by.
    """

    references: tuple[Path, ...]
    samples: tuple[Path, ...]
    flats: tuple[Path, ...] = ()
    darks: tuple[Path, ...] = ()
    reference_monitor: float | None = None
    sample_monitors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        given = [("--sample-monitor", value) for value in self.sample_monitors]
        if self.reference_monitor is not None:
            given.append(("--reference-monitor", self.reference_monitor))
        for option, value in given:
            if usable(value) is None:
                raise UsageError(f"{option}: must be a positive number, not {value:g}")

    def monitor(self, number: int, stated: float | None) -> float | None:
        """That of a sample frame, whose file states another or none."""
        if not self.sample_monitors:
            return stated
        if len(self.sample_monitors) == 1:
            return self.sample_monitors[0]
        return self.sample_monitors[number] if number < len(self.sample_monitors) else None


def average_reference(files: Files, checks: CheckSettings, detector: Detector = PLAIN) -> Reference:
    """The average of all frames of the reference files, as the detector gave them.

    Raises:
        CadeError: one of them cannot be read or used.
    """
    screened = ScreenedAverage()
    for path, frame in _usable(files.references, Role.REFERENCE, checks, detector):
        with _named(path, Role.REFERENCE):
            name = f"frame {screened.taken} ({path})"
            left_out = screened.add(detector.limits.marked(frame), name, frame.monitor)
        for line in left_out:
            structlog.get_logger(__name__).warning("reference frame left out", frame=str(line))
    result = screened.result()
    first = files.references[0]
    taken_s = first.stat().st_mtime
    monitor = result.monitor if files.reference_monitor is None else files.reference_monitor
    return Reference(first.name, result.mean, result.count, taken_s, monitor)


def average_correction(
    files: Files, reference: Image, checks: CheckSettings, detector: Detector = PLAIN
) -> Correction:
    """What the flat and dark files make, for frames of the reference's shape.

    Raises:
        CadeError: one of them cannot be read or used.
    """
    return make_correction(
        _mean(files.flats, Role.FLAT, reference.shape, checks, detector),
        _mean(files.darks, Role.DARK, reference.shape, checks, detector),
        detector,
    )


def first_monitor(files: Files) -> float | None:
    """The monitor value of the first sample that can be read."""
    if files.sample_monitors:
        return files.monitor(0, None)
    for path in files.samples:
        try:
            for image in read(path):
                return image.monitor
        except CadeError:
            continue  # it will be rejected, with the reason
    return None


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


def _average(
    paths: Sequence[Path], role: Role, checks: CheckSettings, detector: Detector
) -> Average:
    """The mean over all frames of all files, each of which must be usable."""
    running = RunningAverage()
    for path, frame in _usable(paths, role, checks, detector):
        with _named(path, role):
            running.add(detector.limits.marked(frame))
    return running.result()


def _usable(
    paths: Sequence[Path], role: Role, checks: CheckSettings, detector: Detector
) -> Iterator[tuple[Path, Frame]]:
    """All frames of all files; raises at the first that is not usable."""
    for path in paths:
        for number, image in enumerate(read(path)):
            frame = Frame("", number, image.data, 0.0, monitor=image.monitor)
            problem = check_content(frame, checks, role, detector)
            if problem is not None:
                raise CadeError(
                    f"{path}: cannot serve as {role} ({problem.reason}: {problem.detail})"
                )
            yield path, frame


@contextmanager
def _named(path: Path, role: Role) -> Iterator[None]:
    try:
        yield
    except CadeError as error:
        raise CadeError(f"{path}: cannot serve as {role} ({error})") from None


def _mean(
    paths: Sequence[Path],
    role: Role,
    shape: tuple[int, ...],
    checks: CheckSettings,
    detector: Detector,
) -> Image | None:
    if not paths:
        return None
    image = _average(paths, role, checks, detector).mean
    if image.shape != shape:
        raise CadeError(
            f"{paths[0]}: the {role} has shape {image.shape}, the reference {shape}; "
            "take both with the same region of the detector"
        )
    return image
