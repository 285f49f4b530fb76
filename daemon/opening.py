"""What is known when a series meets its first sample: geometry, and how frames are corrected."""

from __future__ import annotations

import structlog

from cade.errors import CadeError
from cade.frames import Frame, Image, Role
from cade.geometry import Geometry
from daemon.batches import SeriesOpened
from daemon.correction.correction import Correction, make_correction
from daemon.correction.detector import Detector, load_detector
from daemon.correction.transmission import check_free_air, normalisation
from daemon.references.average import Average
from daemon.series import Series
from daemon.settings import Settings

Corrected = tuple[Image | None, Image | None, Detector]


class Opening:
    """Opens series with the flats and darks that have been kept so far.

    Raises:
        CadeError: the detector's files cannot be read or used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._detector = load_detector(settings.detector)
        check_free_air(settings.transmission, settings.detector)
        self._images: dict[Role, Image] = {}
        self._made: tuple[Corrected, Correction] | None = None
        self._log = structlog.get_logger(__name__)

    def keep(self, role: Role, average: Average) -> None:
        """A flat or dark for the series that open from now on."""
        self._images[role] = average.mean

    def detector(self, series: Series) -> Detector:
        """The detector of a series: the settings' files, and what its start message brings."""
        if series.detector is None:
            series.detector = self._detector.with_start(series.start)
        return series.detector

    def open(self, series: Series, frame: Frame) -> SeriesOpened:
        """The series as its first sample shows it."""
        shape = (frame.data.shape[0], frame.data.shape[1])
        mounting = self.detector(series).mounting
        geometry = self._geometry(series)
        wanted = self._settings.transmission
        return SeriesOpened(
            series_id=series.start.series_id,
            number=series.number,
            start_time_s=series.start.start_time_s,
            shape=shape,
            geometry=None if geometry is None else mounting.scaled(geometry),
            beamline=series.beamline,
            correction=self._correction(series, frame),
            normalisation=normalisation(wanted, mounting, shape, frame.monitor),
            metadata=series.start.metadata,
        )

    def _geometry(self, series: Series) -> Geometry | None:
        """None, and a word in the log, where phase cannot be computed."""
        settings = self._settings.geometry
        try:
            geometry = settings.resolve(series.beamline)
        except CadeError as error:  # the detector states something that cannot be
            problem, geometry = str(error), None
        else:
            names = ", ".join(f"geometry.{name}" for name in settings.missing(series.beamline))
            problem = f"{names}: neither set nor in the metadata"
        if geometry is None:
            self._log.warning(
                "no refraction and phase for this series",
                series=series.start.series_id,
                problem=problem,
            )
        return geometry

    def _correction(self, series: Series, frame: Frame) -> Correction:
        """What flats and darks of the sample's shape make; others do not apply.

        The same for all series with the same of them, so that the device gets them once.
        """
        flat, dark = (
            image if image is not None and image.shape == frame.data.shape else None
            for image in (self._images.get(Role.FLAT), self._images.get(Role.DARK))
        )
        of = flat, dark, self.detector(series)
        if self._made is None or any(a is not b for a, b in zip(of, self._made[0], strict=True)):
            self._made = of, self._make(*of)
        return self._made[1]

    def _make(self, flat: Image | None, dark: Image | None, detector: Detector) -> Correction:
        try:
            return make_correction(flat, dark, detector)
        except CadeError as error:
            self._log.error("frames are not corrected", problem=str(error))
            return make_correction(None, None, detector)
