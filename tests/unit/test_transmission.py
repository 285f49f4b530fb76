"""What the transmission is normalised by: monitor, free air, or nothing, and what is said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import structlog
import torch

from cade.errors import UsageError
from cade.frames import Beamline, Frame, Reference
from daemon.batches import PairBatch, SeriesOpened
from daemon.correction.correction import Correction
from daemon.correction.monitor import usable
from daemon.correction.mounting import AS_IT_IS, Mounting
from daemon.correction.transmission import (
    NOT_NORMALISED,
    Normalisation,
    Normaliser,
    check_free_air,
    normalisation,
)
from daemon.settings import DetectorSettings, TransmissionSettings

SHAPE = (8, 10)
MONITOR = Normalisation("monitor")


def batch(
    how: Normalisation, *monitors: float | None, reference: float | None = 2.0, series: str = "a"
) -> PairBatch:
    opened = SeriesOpened(series, 1, 0.0, SHAPE, None, Beamline(), Correction(), how)
    frames = tuple(
        Frame(series, n, np.zeros(SHAPE), 0.0, monitor=monitor)
        for n, monitor in enumerate(monitors)
    )
    used = Reference("r", np.zeros(SHAPE), 1, 0.0, reference)
    return PairBatch(opened, used, frames, (0.0,) * len(frames), (None,) * len(frames))


def chosen(value: float | None, mounting: Mounting = AS_IT_IS, **settings: Any) -> Any:
    """For a first sample with this monitor value."""
    return normalisation(TransmissionSettings(**settings), mounting, SHAPE, value)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, None])
def test_monitors_that_nothing_is_divided_by(value: float | None) -> None:
    assert usable(value) is None
    assert usable(1e-9) == 1e-9


def test_the_first_sample_decides() -> None:
    assert chosen(1.5) == MONITOR
    assert chosen(None).problem == "the first sample has no monitor value"
    assert chosen(-2.0).problem == "the first sample's monitor value is -2"
    assert (chosen(None).by, chosen(-2.0).by) == ("none", "none")
    assert chosen(1.5, monitor=False) is NOT_NORMALISED


def test_what_the_file_says() -> None:
    assert {p.name: p.value for p in MONITOR.parameters} == {
        "transmission_normalised_by": "monitor"
    }
    assert {p.name: p.value for p in chosen(None).parameters} == {
        "transmission_normalised_by": "none",
        "transmission_not_normalised_because": "the first sample has no monitor value",
    }


def test_free_air_counts_before_the_monitor() -> None:
    found = chosen(1.5, free_air=(0, 4, 6, 10))
    assert (found.by, found.region) == ("free_air", (slice(0, 4), slice(6, 10)))
    binned = chosen(1.5, Mounting(roi=(2, 8, 0, 10), binning=2), free_air=(0, 6, 6, 10))
    assert binned.region == (slice(0, 2), slice(3, 5))


def test_free_air_that_is_not_in_the_image() -> None:
    found = chosen(1.5, Mounting(binning=4), free_air=(0, 3, 0, 8))
    assert (found.by, found.region) == ("none", None)
    assert found.problem == (
        "transmission.free_air = [0, 3, 0, 8] has no pixel in the processed image"
    )


@pytest.mark.parametrize(("free_air", "outside"), [((0, 4, 0, 4), True), ((0, 5, 0, 5), False)])
def test_free_air_outside_the_region_of_interest(free_air: Any, outside: bool) -> None:
    settings, detector = TransmissionSettings(free_air=free_air), DetectorSettings(roi=(4, 8, 4, 8))
    check_free_air(settings, DetectorSettings())
    if not outside:
        check_free_air(settings, detector)
        return
    with pytest.raises(UsageError, match=r"free_air = \[0, 4, 0, 4\] lies outside detector\.roi"):
        check_free_air(settings, detector)


def test_each_frame_by_its_own_monitor() -> None:
    with structlog.testing.capture_logs() as log:
        found = Normaliser().scales(batch(MONITOR, 1.0, 4.0), None)
    assert found.scale.tolist() == [2.0, 0.5]
    assert found.monitor.tolist() == [1.0, 4.0]
    assert found.reference_monitor.tolist() == [2.0, 2.0]
    assert log == []


@pytest.mark.parametrize(
    ("value", "said"), [(None, "not known"), (0.0, "0"), (-1.0, "-1"), (math.nan, "nan")]
)
def test_a_sample_without_a_usable_monitor(value: float | None, said: str) -> None:
    """It stays as measured, is said once for the series, and the others are normalised."""
    normaliser = Normaliser()
    with structlog.testing.capture_logs() as log:
        found = normaliser.scales(batch(MONITOR, 1.0, value), None)
        normaliser.scales(batch(MONITOR, value), None)
        normaliser.scales(batch(MONITOR, value, series="b"), None)
    np.testing.assert_array_equal(found.scale, [2, np.nan])
    assert [line["series"] for line in log] == ["a", "b"]
    assert log[0]["problem"] == f"a sample's monitor value is {said}"


@pytest.mark.parametrize("value", [None, 0.0])
def test_a_reference_without_a_usable_monitor(value: float | None) -> None:
    with structlog.testing.capture_logs() as log:
        found = Normaliser().scales(batch(MONITOR, 1.0, reference=value), None)
    assert np.isnan(found.scale).all()
    assert log[0]["problem"].startswith("the reference's monitor value is ")


def test_nothing_is_said_where_nobody_measures_the_beam() -> None:
    with structlog.testing.capture_logs() as log:
        found = Normaliser().scales(batch(chosen(None), None, reference=None), None)
        assert log == []
        Normaliser().scales(batch(chosen(None), None, reference=2.0), None)
    assert np.isnan(found.scale).all()
    assert log[0]["problem"] == "the first sample has no monitor value"


def test_the_median_of_free_air_becomes_one() -> None:
    how = chosen(None, free_air=(0, 4, 6, 10))
    transmission = torch.full((2, *SHAPE), 0.3)
    transmission[:, :4, 6:] = torch.tensor([0.8, 0.5])[:, None, None]
    transmission[:, 0, 6:] = torch.nan
    transmission[:, 1, 6] = 99
    found = Normaliser().scales(batch(how, None, None), transmission)
    np.testing.assert_allclose(found.scale, [1.25, 2.0])


@pytest.mark.parametrize("value", [math.nan, 0.0, -0.1])
def test_free_air_without_light(value: float) -> None:
    how = chosen(None, free_air=(0, 4, 6, 10))
    with structlog.testing.capture_logs() as log:
        found = Normaliser().scales(batch(how, None), torch.full((1, *SHAPE), value))
    assert np.isnan(found.scale).all()
    assert log[0]["problem"] == "no valid pixel shows free air"
