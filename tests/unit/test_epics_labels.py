"""What PVs add to the series of detectors, and how long a role is waited for."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from cade.frames import Beamline, Frame, Role, SeriesStart
from daemon.settings import EpicsSettings
from daemon.sources.epics_labels import PvLabels
from daemon.sources.epics_metadata import MetadataByPv
from daemon.sources.epics_roles import RoleByPv
from daemon.sources.pv_board import PvBoard
from daemon.sources.pv_report import PvReport

START = SeriesStart("1", 1.0, beamline=Beamline(pixel_size_m=1e-5))
RULE = {"role": "sample", "when": [{"pv": "stage", "equals": 12.5}]}
ENERGY = {"pv": "mono", "use": "energy", "units": "keV", "when": "frame"}


class Control:
    """Labels, and the board behind them, which the test fills as Channel Access would."""

    def __init__(self, *, connect_s: float = 60.0, settle_s: float = 60.0, rules: int = 1) -> None:
        settings = EpicsSettings.model_validate(
            {
                "roles": [RULE] * rules,
                "metadata": [ENERGY],
                "connect_s": connect_s,
                "settle_s": settle_s,
            }
        )
        self.board = PvBoard(settings.pvs)
        report = PvReport()
        metadata = MetadataByPv(settings.metadata, self.board, report)
        self.labels = PvLabels(settings, self.board, RoleByPv(settings, report), metadata)
        self.stop = threading.Event()

    def say(self, pv: str, value: float) -> None:
        self.board._on_connection(pvname=pv, conn=True)
        self.board._on_value(pvname=pv, value=value, timestamp=time.time())
        self.board._on_properties(pvname=pv)

    def start(self, start: SeriesStart = START, *, with_role: bool = True) -> SeriesStart:
        return self.labels.start(start, self.stop, with_role=with_role)

    def start_while(self, pv: str, value: float) -> SeriesStart:
        """What comes of a start that waits until a PV has said this."""
        found: list[SeriesStart] = []
        thread = threading.Thread(target=lambda: found.append(self.start()))
        thread.start()
        self.say(pv, value)
        thread.join()
        return found[0]


def test_a_role_that_comes_late() -> None:
    control = Control()
    assert control.start_while("stage", 12.5).role is Role.SAMPLE
    control.say("stage", 0.0)
    assert control.start_while("stage", 12.5).role is Role.SAMPLE


def test_a_role_that_never_comes() -> None:
    start = Control(connect_s=0.01).start()
    assert (start.role, start.role_problem) == (None, "")


def test_a_pv_that_is_lost_is_waited_for_again() -> None:
    control = Control(connect_s=0.01)
    control.start()
    control.say("stage", 12.5)
    assert control.start().role is Role.SAMPLE
    control.board._on_connection(pvname="stage", conn=False)
    assert control.start().role is None


def test_neither_in_nor_out() -> None:
    control = Control(settle_s=0.0)
    control.say("stage", 5.0)
    start = control.start()
    assert (start.role, start.role_problem) == (
        None,
        "no rule of epics.roles holds: stage is 5",
    )


@pytest.mark.parametrize("case", ["frame says", "by pv", "no rules", "stopped"])
def test_nobody_waits_in_vain(case: str) -> None:
    control = Control(rules=0 if case == "no rules" else 1)
    start = SeriesStart("1", 1.0, role=Role.DARK) if case == "frame says" else START
    if case == "stopped":
        control.stop.set()
    start = control.start(start, with_role=case != "by pv")
    assert start.role is (Role.DARK if case == "frame says" else None)


def test_metadata_of_series_and_frames() -> None:
    control = Control(rules=0)
    control.say("mono", 30.0)
    start = control.start()
    assert start.beamline == Beamline(energy_ev=30e3, pixel_size_m=1e-5)
    [reading] = start.metadata.columns
    assert reading.value == 30.0
    frame = control.labels.frame(Frame("1", 0, np.zeros((2, 2)), 1.0, monitor=3.0))
    assert [r.value for r in frame.readings] == [30.0]
    assert frame.monitor == 3.0, "what the stream says, where no PV is the monitor"
    assert control.labels.last_frame_s > 0
