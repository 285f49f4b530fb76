"""What is known when a series meets its first sample: geometry, and how frames are corrected."""

from __future__ import annotations

import structlog

from cade.errors import CadeError
from cade.frames import Frame, Image, Role
from cade.geometry import Geometry
from daemon.batches import SeriesOpened
from daemon.corrections import Correction, make_correction
from daemon.reference_average import Average
from daemon.series import Series
from daemon.settings import GeometrySettings


class Opening:
    """Opens series with the flats and darks that have been kept so far."""

    def __init__(self, settings: GeometrySettings) -> None:
        self._settings = settings
        self._images: dict[Role, Image] = {}
        self._log = structlog.get_logger(__name__)

    def keep(self, role: Role, average: Average) -> None:
        """A flat or dark for the series that open from now on."""
        self._images[role] = average.mean

    def open(self, series: Series, frame: Frame) -> SeriesOpened:
        """The series as its first sample shows it."""
        return SeriesOpened(
            series_id=series.start.series_id,
            number=series.number,
            start_time_s=series.start.start_time_s,
            shape=(frame.data.shape[0], frame.data.shape[1]),
            geometry=self._geometry(series),
            beamline=series.beamline,
            correction=self._correction(frame),
        )

    def _geometry(self, series: Series) -> Geometry | None:
        """None, and a word in the log, where phase cannot be computed."""
        try:
            geometry = self._settings.resolve(series.beamline)
        except CadeError as error:  # the detector states something that cannot be
            problem, geometry = str(error), None
        else:
            names = ", ".join(
                f"geometry.{name}" for name in self._settings.missing(series.beamline)
            )
            problem = f"{names}: neither set nor in the metadata"
        if geometry is None:
            self._log.warning(
                "no refraction and phase for this series",
                series=series.start.series_id,
                problem=problem,
            )
        return geometry

    def _correction(self, frame: Frame) -> Correction:
        """What flats and darks of the sample's shape make; others do not apply."""
        flat, dark = (
            image if image is not None and image.shape == frame.data.shape else None
            for image in (self._images.get(Role.FLAT), self._images.get(Role.DARK))
        )
        try:
            return make_correction(flat, dark)
        except CadeError as error:
            self._log.error("frames are not corrected", problem=str(error))
            return Correction()
