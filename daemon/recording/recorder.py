"""The last stage: rows and rejections into one file a series."""

from __future__ import annotations

import contextlib

import structlog

from cade.frames import Reason, Rejected
from daemon.accounting import Account
from daemon.batches import SeriesClosed, SeriesOpened, ToWriter
from daemon.recording.output_path import output_path
from daemon.recording.results import ResultRows
from daemon.recording.scan_header import ScanHeader, TrackerProvenance
from daemon.recording.writer import ResultWriter
from daemon.settings import OutputSettings

MOST_EARLY = 10_000
"""Rejections kept for files that are not open yet; beyond, they are only counted and logged."""
MOST_SEEN = 10_000
"""Kinds of loss that are logged: a stream that invents series must not fill log and memory."""


class Recorder:
    """Opens, fills and closes result files. Used by one thread."""

    def __init__(
        self,
        settings: OutputSettings,
        tracker: TrackerProvenance,
        configuration_toml: str,
        account: Account,
    ) -> None:
        self._settings, self._tracker = settings, tracker
        self._configuration_toml = configuration_toml
        self._account = account
        self._writers: dict[str, ResultWriter] = {}
        self._early: list[Rejected] = []
        self._seen: set[tuple[str, Reason]] = set()
        self._log = structlog.get_logger(__name__)
        self.last_file = ""

    def take(self, message: ToWriter) -> None:
        """Write what a message carries.

        Raises:
            CadeError: the file cannot be written; the message says why and what to do.
        """
        match message:
            case SeriesOpened():
                self._open(message)
            case ResultRows():
                self._writers[message.series_id].append(message)
                self._account.write(len(message))
            case Rejected():
                self._reject(message)
            case SeriesClosed():
                self._close(message.series_id)
                self._account.series.close(message.series_id)

    def close(self) -> None:
        """Close every file, also when one of them cannot be finished."""
        with contextlib.ExitStack() as stack:
            for series_id in self._writers:
                stack.callback(self._close, series_id)

    def _open(self, series: SeriesOpened) -> None:
        settings = self._settings
        if series.metadata.proposal:
            settings = settings.model_copy(update={"proposal": series.metadata.proposal})
        path = output_path(settings, series.number, series.start_time_s)
        header = ScanHeader(
            series_id=series.series_id,
            start_time_s=series.start_time_s,
            shape=series.image_shape,
            geometry=series.geometry,
            tracker=self._tracker,
            configuration_toml=self._configuration_toml,
            corrections=series.steps,
            exposure_s=series.beamline.exposure_s,
            mounting=series.correction.detector.mounting,
            frame_shape=series.shape,
            metadata=series.metadata,
        )
        writer = ResultWriter(path, header, settings)
        self._writers[series.series_id] = writer
        self.last_file = str(path)
        for rejected in self._take_early(series.series_id):
            writer.reject(rejected)
        self._log.info("file opened", series=series.series_id, file=str(path))

    def _reject(self, rejected: Rejected) -> None:
        self._report(rejected)
        writer = self._writers.get(rejected.series_id)
        if writer is not None:
            writer.reject(rejected)
            return
        # Before the first sample there is no file; if none comes, the log has it.
        if rejected.reason is not Reason.NO_SERIES and len(self._early) < MOST_EARLY:
            self._early.append(rejected)

    def _take_early(self, series_id: str) -> list[Rejected]:
        """What has waited for a series' file."""
        early = [r for r in self._early if r.series_id == series_id]
        if early:
            self._early = [r for r in self._early if r.series_id != series_id]
        return early

    def _report(self, rejected: Rejected) -> None:
        """Log the first loss of each kind in a series; the others are counted."""
        key = (rejected.series_id, rejected.reason)
        is_new = key not in self._seen and len(self._seen) < MOST_SEEN
        if is_new:
            self._seen.add(key)
        log = self._log.warning if is_new else self._log.debug
        log(
            "frame rejected",
            reason=rejected.reason,
            detail=rejected.detail,
            series=rejected.series_id,
            image=rejected.image_id,
            origin=rejected.origin,
        )

    def _close(self, series_id: str) -> None:
        self._take_early(series_id)
        self._seen = {key for key in self._seen if key[0] != series_id}
        writer = self._writers.pop(series_id, None)
        if writer is not None:
            writer.close()
            self._log.info("file closed", file=str(writer.path), rows=writer.row_count)
