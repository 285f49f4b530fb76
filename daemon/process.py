"""Files in, one HDF5 file out: the daemon's own checks, processing and writer, no threads."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cade.errors import CadeError, UsageError
from cade.files import read, read_beamline, read_frames
from cade.frames import Beamline, Frame, FramePair, Image, Reason, Reference, Rejected
from cade.geometry import Geometry
from daemon.batches import Batcher, PairBatch, SeriesOpened
from daemon.checks import check_content, check_form, reject
from daemon.configuration import settings_toml
from daemon.corrections import Correction, make_correction
from daemon.processor import Processor, tracker_provenance
from daemon.reference_average import average
from daemon.results import ResultRows
from daemon.scan_header import ScanHeader
from daemon.settings import Settings
from daemon.writer import ResultWriter
from models import Tracker


@dataclass(frozen=True, slots=True)
class Files:
    """What is processed: each file may hold several frames."""

    references: tuple[Path, ...]
    samples: tuple[Path, ...]
    flats: tuple[Path, ...] = ()
    darks: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: `written` rows, and every sample that was not processed."""

    written: int
    rejected: tuple[Rejected, ...]


def process_files(
    files: Files,
    output: Path,
    settings: Settings,
    tracker: Tracker,
    *,
    displacement_only: bool = False,
    report: Callable[[ResultRows], None] = lambda _: None,
) -> Outcome:
    """Process sample files against the average of the reference files.

    Args:
        files: the frames.
        output: the HDF5 file, which must not exist.
        settings: geometry, checks, batches and output.
        tracker: finds the displacement.
        displacement_only: write no refraction and phase, and need no geometry.
        report: told of every batch that was written.

    Raises:
        UsageError: the geometry is incomplete.
        CadeError: a reference, flat or dark cannot be used, or the output not be written.
    """
    beamline = _beamline(files, settings, needed=not displacement_only)
    geometry = None if displacement_only else _geometry(settings, beamline)
    reference = _reference(files.references)
    correction = _correction(files, reference.data)
    series = SeriesOpened(
        series_id=output.stem,
        number=1,
        start_time_s=time.time(),
        shape=(reference.data.shape[0], reference.data.shape[1]),
        geometry=geometry,
        beamline=beamline,
        correction=correction,
    )
    processor = Processor(tracker, remove_tilt=settings.output.remove_tilt)
    rejected: list[Rejected] = []
    header = _header(series, tracker, settings)
    with ResultWriter(output, header, settings.output) as writer:
        for item in _batches(files.samples, series, reference, settings):
            for result in _processed(item, processor):
                if isinstance(result, Rejected):
                    writer.reject(result)
                    rejected.append(result)
                else:
                    writer.append(result)
                    report(result)
        return Outcome(writer.row_count, tuple(rejected))


def _processed(item: PairBatch | Rejected, processor: Processor) -> Iterator[ResultRows | Rejected]:
    if isinstance(item, Rejected):
        yield item
        return
    try:
        yield processor.process(item)
    except CadeError as error:
        for frame in item.samples:
            yield reject(frame, Reason.PROCESSING, str(error))


def _batches(
    samples: Sequence[Path], series: SeriesOpened, reference: Reference, settings: Settings
) -> Iterator[PairBatch | Rejected]:
    """Usable sample frames in batches, the others as rejected, in order."""
    batcher = Batcher(settings.batch.size, settings.batch.wait_s)
    numbers = itertools.count()
    for path in samples:
        for frame in _frames(path, series, numbers):
            problem = frame if isinstance(frame, Rejected) else _problem(frame, series, settings)
            if isinstance(frame, Frame) and problem is None:
                yield from batcher.add(series, FramePair(frame, reference))
            elif problem is not None:
                yield from batcher.flush()
                yield problem
    yield from batcher.flush()


def _problem(frame: Frame, series: SeriesOpened, settings: Settings) -> Rejected | None:
    return check_form(frame, series.shape, frame.data.dtype) or check_content(
        frame, settings.checks
    )


def _frames(path: Path, series: SeriesOpened, numbers: Iterator[int]) -> Iterator[Frame | Rejected]:
    """The frames of a sample file; a file that cannot be read is one rejected frame."""
    try:
        for image in read(path):
            yield Frame(
                series_id=series.series_id,
                image_id=next(numbers),
                data=image.data,
                timestamp_s=image.timestamp_s or path.stat().st_mtime,
                origin=str(path),
            )
    except (CadeError, OSError) as error:
        yield Rejected(series.series_id, next(numbers), Reason.UNREADABLE, str(error), str(path))


def _reference(paths: Sequence[Path]) -> Reference:
    result = average(itertools.chain.from_iterable(read_frames(p) for p in paths))
    return Reference(paths[0].name, result.mean, result.count, paths[0].stat().st_mtime)


def _mean(paths: Sequence[Path], role: str, shape: tuple[int, ...]) -> Image | None:
    if not paths:
        return None
    image = average(itertools.chain.from_iterable(read_frames(p) for p in paths)).mean
    if image.shape != shape:
        raise CadeError(f"{paths[0]}: the {role} is {image.shape}, the reference {shape}")
    return image


def _correction(files: Files, reference: Image) -> Correction:
    return make_correction(
        _mean(files.flats, "flat", reference.shape), _mean(files.darks, "dark", reference.shape)
    )


def _beamline(files: Files, settings: Settings, *, needed: bool) -> Beamline:
    """The metadata of the first sample file, read only where the settings leave something open."""
    if not needed or not settings.geometry.missing(Beamline()):
        return Beamline()
    return read_beamline(files.samples[0])


def _geometry(settings: Settings, beamline: Beamline) -> Geometry:
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


def _header(series: SeriesOpened, tracker: Tracker, settings: Settings) -> ScanHeader:
    return ScanHeader(
        series_id=series.series_id,
        start_time_s=series.start_time_s,
        shape=series.shape,
        geometry=series.geometry,
        tracker=tracker_provenance(tracker),
        configuration_toml=settings_toml(settings),
        corrections=series.correction.parameters,
        exposure_s=series.beamline.exposure_s,
    )
