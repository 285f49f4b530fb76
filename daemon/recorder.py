"""The last stage: rows and rejections into one file a series."""

from __future__ import annotations

import structlog

from cade.frames import Reason, Rejected
from daemon.accounting import Account
from daemon.batches import SeriesClosed, SeriesOpened, ToWriter
from daemon.output_path import output_path
from daemon.results import ResultRows
from daemon.scan_header import ScanHeader, TrackerProvenance
from daemon.settings import OutputSettings
from daemon.writer import ResultWriter

MOST_EARLY = 10_000
"""Rejections kept for a file that is not open yet; beyond, they are only counted and logged."""


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
        self._early: dict[str, list[Rejected]] = {}
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

    def close(self) -> None:
        """Close every file."""
        for series_id in list(self._writers):
            self._close(series_id)

    def _open(self, series: SeriesOpened) -> None:
        path = output_path(self._settings, series.number, series.start_time_s)
        header = ScanHeader(
            series_id=series.series_id,
            start_time_s=series.start_time_s,
            shape=series.shape,
            geometry=series.geometry,
            tracker=self._tracker,
            configuration_toml=self._configuration_toml,
            corrections=series.correction.parameters,
            exposure_s=series.beamline.exposure_s,
        )
        writer = ResultWriter(path, header, self._settings)
        self._writers[series.series_id] = writer
        self.last_file = str(path)
        for rejected in self._early.pop(series.series_id, []):
            writer.reject(rejected)
        self._log.info("file opened", series=series.series_id, file=str(path))

    def _reject(self, rejected: Rejected) -> None:
        self._report(rejected)
        writer = self._writers.get(rejected.series_id)
        if writer is not None:
            writer.reject(rejected)
            return
        # Before the first sample there is no file; if none comes, the log has it.
        early = self._early.setdefault(rejected.series_id, [])
        if len(early) < MOST_EARLY:
            early.append(rejected)

    def _report(self, rejected: Rejected) -> None:
        """Log the first loss of each kind in a series; the others are counted."""
        key = (rejected.series_id, rejected.reason)
        log = self._log.debug if key in self._seen else self._log.warning
        self._seen.add(key)
        log(
            "frame rejected",
            reason=rejected.reason,
            detail=rejected.detail,
            series=rejected.series_id,
            image=rejected.image_id,
            origin=rejected.origin,
        )

    def _close(self, series_id: str) -> None:
        self._early.pop(series_id, None)
        self._seen = {key for key in self._seen if key[0] != series_id}
        writer = self._writers.pop(series_id, None)
        if writer is not None:
            writer.close()
            self._log.info("file closed", file=str(writer.path), rows=writer.row_count)
