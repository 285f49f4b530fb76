"""What process variables say about a series and its frames."""

from __future__ import annotations

import dataclasses
import re
import time

from cade.frames import Beamline
from cade.reading import Metadata, Reading
from daemon.recording.output_path import safe_name
from daemon.settings.epics_metadata import MetadataSettings
from daemon.sources.pv_board import PvBoard, PvState
from daemon.sources.pv_report import PvReport
from daemon.sources.pv_value import number_of, si_value, text_of

_FIELDS = {
    "energy": "energy_ev",
    "distance": "distance_m",
    "source_distance": "source_distance_m",
    "pixel_size": "pixel_size_m",
    "exposure": "exposure_s",
    "diffuser": "diffuser_m",
}


class MetadataByPv:
    """Reads the PVs of `epics.metadata` as they are known at the moment; it never waits.

    Args:
        items: which PVs, and what they mean.
        board: what is known of them.
        report: takes values that cannot be used.
    """

    def __init__(
        self, items: tuple[MetadataSettings, ...], board: PvBoard, report: PvReport
    ) -> None:
        self._items, self._board, self._report = items, board, report
        self._columns = tuple(item for item in items if item.is_per_frame)
        self._monitor = next((n for n, i in enumerate(self._columns) if i.use == "monitor"), None)

    def of_series(self, beamline: Beamline) -> tuple[Metadata, Beamline]:
        """The readings now, and the optics with what they say before what was known."""
        optics: dict[str, float | str] = {}
        texts = {"sample_name": "", "proposal": ""}
        readings = []
        for item in self._items:
            reading = self._read(item)
            try:
                optics.update(_optics(item, reading))
                texts.update(_texts(item, reading))
            except ValueError as error:
                reading = dataclasses.replace(reading, problem=str(error))
            if reading.problem:
                self._report.warn(item.pv, reading.problem)
            readings.append(reading)
        columns = tuple(
            reading
            for item, reading in zip(self._items, readings, strict=True)
            if item.is_per_frame
        )
        metadata = Metadata(readings=tuple(readings), columns=columns, **texts)
        return metadata, dataclasses.replace(beamline, **optics)  # type: ignore[arg-type]

    def of_frame(self) -> tuple[tuple[Reading, ...], float | None]:
        """The readings for a frame that has just come, and what the monitor shows."""
        readings = tuple(self._read(item) for item in self._columns)
        for reading in readings:
            if reading.problem:
                self._report.warn(reading.pv, reading.problem)
        if self._monitor is None:
            return readings, None
        monitor, pv = readings[self._monitor].value, readings[self._monitor].pv
        if not isinstance(monitor, float):
            return readings, None
        if monitor <= 0:
            self._report.warn(pv, "is a monitor that shows no beam; frames are not normalised")
            return readings, None
        return readings, monitor

    def _read(self, item: MetadataSettings) -> Reading:
        state, now_s = self._board.latest(item.pv), time.time()
        value: float | str | None = None
        problem = ""
        try:
            value = _value(item, state)
        except ValueError as error:
            problem = str(error)
        return Reading(
            name=item.stored_name,
            pv=item.pv,
            value=value,
            is_text=item.is_text,
            units="" if item.is_text else item.units or state.units,
            timestamp_s=state.timestamp_s,
            age_s=None if state.timestamp_s is None else now_s - state.timestamp_s,
            connected=state.connected,
            alarm=state.alarm,
            problem=problem,
        )


def _value(item: MetadataSettings, state: PvState) -> float | str:
    if not state.connected:
        raise ValueError("is not connected")
    if not state.is_known:
        raise ValueError("has sent no value yet")
    if item.is_text:
        return text_of(state.value, state.states)
    number = number_of(state.value)
    if not state.is_trusted:
        raise ValueError("is in alarm INVALID")
    return number


def _optics(item: MetadataSettings, reading: Reading) -> dict[str, float | str]:
    """The fields of `Beamline` that a reading states."""
    if item.use == "detector" and reading.value:
        return {"detector": str(reading.value)}
    if item.use in _FIELDS and isinstance(reading.value, float):
        return {_FIELDS[item.use]: si_value(reading.value, reading.units, item.use)}
    return {}


def _texts(item: MetadataSettings, reading: Reading) -> dict[str, str]:
    """The sample or the proposal that a reading states."""
    text = str(reading.value or "")
    if item.use == "sample_name" and text:
        return {"sample_name": text}
    if item.use == "proposal" and text:
        if not re.fullmatch(r"[\w.-]+", text) or safe_name(text) != text:
            raise ValueError(
                f"is {text[:40]!r}, which is no name of a folder (letters, digits, _ . -); "
                "output.proposal holds"
            )
        return {"proposal": text}
    return {}
