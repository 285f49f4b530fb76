"""Files in, one HDF5 file out: the daemon's own checks, processing and writer, no threads."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from cade.errors import CadeError
from cade.files import read
from cade.frames import Frame, FramePair, Image, Reason, Reference, Rejected, Role
from daemon.batches import Batcher, PairBatch, SeriesOpened
from daemon.checks import check_content, check_form, reject
from daemon.configuration import settings_toml
from daemon.correction.detector import load_detector
from daemon.correction.transmission import check_free_air, normalisation
from daemon.process_input import (
    Files,
    average_correction,
    average_reference,
    first_monitor,
    read_optics,
    resolve_geometry,
)
from daemon.processor import Processor, tracker_provenance
from daemon.recording.output_folder import check_folder
from daemon.recording.results import ResultRows
from daemon.recording.scan_header import ScanHeader
from daemon.recording.writer import ResultWriter
from daemon.settings import Settings
from daemon.stated_time import plausible_time_s
from models import Tracker

_HOST = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: `written` rows, every sample that was not processed, and row 0's sample.

    That is corrected and as mounted, `(h, w)` like its results.
    """

    written: int
    rejected: tuple[Rejected, ...]
    first_sample: Image | None


def check_output(path: Path) -> None:
    """Refuse an output that is there already, or cannot be, before any work is done.

    Raises:
        CadeError: it exists, or its folder cannot be written.
    """
    check_folder(path.absolute().parent, "--output")
    if path.exists():
        raise CadeError(f"{path}: exists and is never overwritten; remove it or name another file")


def process_files(
    files: Files,
    output: Path,
    settings: Settings,
    tracker: Tracker,
    *,
    displacement_only: bool = False,
    report: Callable[[ResultRows], object] = lambda _: None,
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
    check_output(output)
    series, reference = _opened(files, output, settings, displacement_only=displacement_only)
    processor = Processor(
        tracker,
        remove_tilt=settings.output.remove_tilt,
        divide_focusing=settings.output.divide_focusing,
    )
    rejected: list[Rejected] = []
    first: Image | None = None
    header = _header(series, tracker, settings)
    with ResultWriter(output, header, settings.output) as writer:
        for item in _batches(files, series, reference, settings):
            for result in _processed(item, processor):
                if isinstance(result, Rejected):
                    writer.reject(result)
                    rejected.append(result)
                else:
                    writer.append(result)
                    report(result)
                    if first is None and isinstance(item, PairBatch):
                        first = series.correction.samples(item.samples[:1], _HOST)[0].numpy()
        return Outcome(writer.row_count, tuple(rejected), first)


def _opened(
    files: Files, output: Path, settings: Settings, *, displacement_only: bool
) -> tuple[SeriesOpened, Reference]:
    """All that must be right before the first sample is read."""
    beamline = read_optics(files, settings, needed=not displacement_only)
    geometry = None if displacement_only else resolve_geometry(settings, beamline)
    detector = load_detector(settings.detector)
    check_free_air(settings.transmission, settings.detector)
    reference = average_reference(files, settings.checks, detector)
    correction = average_correction(files, reference.data, settings.checks, detector)
    shape = (reference.data.shape[0], reference.data.shape[1])
    series = SeriesOpened(
        series_id=output.stem,
        number=1,
        start_time_s=time.time(),
        shape=shape,
        geometry=None if geometry is None else detector.mounting.scaled(geometry),
        beamline=beamline,
        correction=correction,
        normalisation=normalisation(
            settings.transmission, detector.mounting, shape, first_monitor(files)
        ),
    )
    return series, reference


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
    files: Files, series: SeriesOpened, reference: Reference, settings: Settings
) -> Iterator[PairBatch | Rejected]:
    """Usable sample frames in batches, the others as rejected, in order."""
    batcher = Batcher(settings.batch.size, settings.batch.wait_s)
    numbers = itertools.count()
    for path in files.samples:
        for frame in _frames(path, files, series, numbers):
            problem = frame if isinstance(frame, Rejected) else _problem(frame, series, settings)
            if isinstance(frame, Frame) and problem is None:
                yield from batcher.add(series, FramePair(frame, reference))
            elif problem is not None:
                yield from batcher.flush()
                yield problem
    yield from batcher.flush()


def _problem(frame: Frame, series: SeriesOpened, settings: Settings) -> Rejected | None:
    return check_form(frame, series.shape, frame.data.dtype) or check_content(
        frame, settings.checks, Role.SAMPLE, series.correction.detector
    )


def _frames(
    path: Path, files: Files, series: SeriesOpened, numbers: Iterator[int]
) -> Iterator[Frame | Rejected]:
    """The frames of a sample file; a file that cannot be read is one rejected frame."""
    try:
        for image in read(path):
            number = next(numbers)
            yield Frame(
                series_id=series.series_id,
                image_id=number,
                data=image.data,
                timestamp_s=plausible_time_s(image.timestamp_s or path.stat().st_mtime),
                origin=str(path),
                monitor=files.monitor(number, image.monitor),
            )
    except (CadeError, OSError) as error:
        yield Rejected(series.series_id, next(numbers), Reason.UNREADABLE, str(error), str(path))


def _header(series: SeriesOpened, tracker: Tracker, settings: Settings) -> ScanHeader:
    return ScanHeader(
        series_id=series.series_id,
        start_time_s=series.start_time_s,
        shape=series.image_shape,
        geometry=series.geometry,
        tracker=tracker_provenance(tracker),
        configuration_toml=settings_toml(settings),
        corrections=series.steps,
        exposure_s=series.beamline.exposure_s,
        mounting=series.correction.detector.mounting,
        frame_shape=series.shape,
    )
