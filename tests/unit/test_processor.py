"""Batches to rows: number types, corrections, references, geometry."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cade.displacement import Displacement
from cade.errors import CadeError
from cade.frames import Beamline, Frame, Reference
from cade.geometry import Geometry
from daemon.batches import PairBatch, SeriesOpened
from daemon.correction.correction import Correction, make_correction
from daemon.processor import Processor, tracker_provenance
from daemon.recording.results import ResultRows
from models import Provenance, Tracker, load_tracker
from tests.speckle import SHAPE, moved, speckle

REFERENCE = np.round(speckle()).astype("f4")
SAMPLE = np.round(moved(speckle(), 0.4, -0.3))
GEOMETRY = Geometry(energy_ev=3e4, distance_m=2.0, pixel_size_m=1e-5)
PHASE_PER_PX = GEOMETRY.wavenumber_per_m * GEOMETRY.pixel_size_m**2 / GEOMETRY.distance_m
"""Step of the phase over a pixel whose speckle moved by one, in rad."""


def batch(
    *samples: NDArray[Any],
    reference: NDArray[Any] = REFERENCE,
    correction: Correction | None = None,
    geometry: Geometry | None = GEOMETRY,
    reference_id: str = "r",
    drift_px: tuple[float, float] | None = None,
) -> PairBatch:
    series = SeriesOpened("a", 1, 0.0, SHAPE, geometry, Beamline(), correction or Correction())
    frames = tuple(Frame("a", n, data, 5.0 + n) for n, data in enumerate(samples))
    arrived_s = tuple(0.0 for _ in frames)
    used = Reference(reference_id, reference, 1, 0.0)
    return PairBatch(series, used, frames, arrived_s, (drift_px,) * len(frames))


@pytest.fixture(scope="module")
def processor() -> Processor:
    return Processor(load_tracker("zncc", device="cpu", window=11))


class Known(Tracker):
    """Says what it was told, whatever it sees."""

    def __init__(self, found: Displacement[torch.Tensor]) -> None:
        self.device = torch.device("cpu")
        self.provenance = Provenance("known", {})
        self._found = found

    def _estimate(
        self, reference: torch.Tensor, sample: torch.Tensor, weight: torch.Tensor
    ) -> Displacement[torch.Tensor]:
        raise NotImplementedError

    def track(self, reference: Any, sample: Any) -> Displacement[Any]:
        return self._found


def mean_shift(rows: ResultRows) -> tuple[float, float]:
    found = rows.displacement
    return float(np.nanmedian(found.ux_px)), float(np.nanmedian(found.uy_px))


def test_rows_of_a_batch(processor: Processor) -> None:
    rows = processor.process(batch(SAMPLE.astype("u2"), REFERENCE.astype("u2")))
    assert (rows.series_id, list(rows.image_ids), list(rows.timestamps_s)) == ("a", [0, 1], [5, 6])
    assert rows.reference_ids == ("r", "r")
    assert np.nanmedian(rows.displacement.ux_px[0]) == pytest.approx(0.4, abs=0.05)
    assert np.nanmedian(rows.displacement.uy_px[0]) == pytest.approx(-0.3, abs=0.05)
    assert np.nanmedian(rows.displacement.ux_px[1]) == pytest.approx(0.0, abs=0.01)
    assert rows.refraction is not None
    np.testing.assert_allclose(
        rows.refraction.x_rad, rows.displacement.ux_px * 1e-5 / 2.0, rtol=1e-5
    )
    assert rows.phase is not None
    assert rows.phase.shape == (2, *SHAPE)
    for seconds in (rows.times.tracking_s, rows.times.phase_s, rows.times.copying_s):
        assert seconds.shape == (2,)
        assert (seconds >= 0).all()


@pytest.mark.parametrize(
    "dtype", ["u1", "u2", "u4", "u8", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">f4", "g"]
)
def test_every_number_type_gives_the_same(processor: Processor, dtype: str) -> None:
    scale = 8 if np.dtype(dtype).itemsize == 1 else 1
    sample, reference = np.round(SAMPLE / scale), np.round(REFERENCE / scale)
    expected = processor.process(
        batch(sample.astype("f4"), reference=reference, reference_id=f"float {dtype}")
    )
    rows = processor.process(
        batch(sample.astype(dtype), reference=reference.astype("f4"), reference_id=dtype)
    )
    if dtype == "f2":  # 11 bits
        assert mean_shift(rows) == pytest.approx(mean_shift(expected), abs=0.01)
    else:
        np.testing.assert_array_equal(rows.displacement.ux_px, expected.displacement.ux_px)


def test_wide_numbers_keep_their_order_of_size(processor: Processor) -> None:
    big = (SAMPLE * 1e5).astype("u4")
    rows = processor.process(batch(big))
    assert mean_shift(rows) == pytest.approx((0.4, -0.3), abs=0.05)


def test_read_only_frames_of_a_receive_buffer(processor: Processor) -> None:
    data = np.frombuffer(SAMPLE.astype("u2").tobytes(), "u2").reshape(SHAPE)
    assert not data.flags.writeable
    before = data.copy()
    rows = processor.process(batch(data, correction=make_correction(None, np.ones(SHAPE))))
    assert mean_shift(rows) == pytest.approx((0.4, -0.3), abs=0.05)
    np.testing.assert_array_equal(data, before)


def test_numbers_beyond_float32_are_invalid(processor: Processor) -> None:
    data = SAMPLE.copy()
    data[40, 40] = 1e200
    rows = processor.process(batch(data))
    assert not rows.displacement.valid[0, 40, 40]
    assert np.isnan(rows.displacement.ux_px[0, 40, 40])
    assert rows.displacement.valid[0, 10, 10]


def test_a_flat_that_hides_the_speckle_is_taken_out(processor: Processor) -> None:
    """A structured flat is the same in both frames, and looks like no displacement at all."""
    flat = speckle(seed=5) / 1000
    raw = [(image * flat * 10).astype("f4") for image in (REFERENCE, SAMPLE)]
    plain = processor.process(batch(raw[1], reference=raw[0], reference_id="raw"))
    corrected = processor.process(
        batch(raw[1], reference=raw[0], reference_id="raw", correction=make_correction(flat, None))
    )
    assert mean_shift(corrected) == pytest.approx((0.4, -0.3), abs=0.05)
    assert abs(mean_shift(plain)[0] - 0.4) > 0.1


def test_the_same_reference_with_another_correction(processor: Processor) -> None:
    """The corrected reference is kept between batches, and must follow the correction."""
    dark = np.zeros(SHAPE, "f4")
    dark[:, :60] = np.linspace(0, 900, 60)
    raw = (REFERENCE + dark, (SAMPLE + dark).astype("f4"))
    first = batch(raw[1], reference=raw[0])
    corrected = dataclasses.replace(first.series, correction=make_correction(None, dark))
    second = dataclasses.replace(first, series=corrected)
    before, after = (processor.process(item).displacement.ux_px for item in (first, second))
    fresh = Processor(processor.tracker).process(second).displacement.ux_px
    np.testing.assert_array_equal(after, fresh)
    assert np.nanmax(np.abs(after - before)) > 0.01


def test_another_reference(processor: Processor) -> None:
    processor.process(batch(SAMPLE))
    rows = processor.process(batch(SAMPLE, reference=SAMPLE.astype("f4"), reference_id="other"))
    assert mean_shift(rows) == pytest.approx((0, 0), abs=0.01)


def test_without_geometry_there_is_no_phase(processor: Processor) -> None:
    rows = processor.process(batch(SAMPLE, geometry=None))
    assert rows.refraction is None
    assert rows.phase is None
    assert mean_shift(rows) == pytest.approx((0.4, -0.3), abs=0.05)


def test_what_the_tracker_refuses(processor: Processor) -> None:
    with pytest.raises(CadeError, match="at least 16 px"):
        processor.process(batch(SAMPLE[:8], reference=REFERENCE[:8], reference_id="small"))


def test_nothing_of_it_is_a_tensor(processor: Processor) -> None:
    rows = processor.process(batch(SAMPLE))
    values = [rows.displacement.valid, rows.displacement.transmission, rows.phase]
    assert all(isinstance(value, np.ndarray) for value in values)
    assert not any(isinstance(value, torch.Tensor) for value in values)


def test_provenance(processor: Processor) -> None:
    found = tracker_provenance(processor.tracker)
    assert (found.name, found.weights_name, found.has_sigma) == ("zncc", None, False)
    assert [(p.name, p.value, p.units) for p in found.parameters][:1] == [("window_px", 11, "px")]


@pytest.mark.parametrize(
    ("drift_px", "left_px"), [((0.25, -0.2), (0.15, -0.1)), (None, (0.4, -0.3))]
)
def test_drift_is_taken_out_of_the_displacement_where_asked(
    processor: Processor, drift_px: tuple[float, float] | None, left_px: tuple[float, float]
) -> None:
    drifted = batch(SAMPLE, drift_px=drift_px)
    removing = Processor(processor.tracker, remove_drift=True)
    assert mean_shift(removing.process(drifted)) == pytest.approx(left_px, abs=0.05)
    rows = processor.process(drifted)
    assert mean_shift(rows) == pytest.approx((0.4, -0.3), abs=0.05)
    np.testing.assert_allclose(rows.drifts_px, [drift_px or (np.nan, np.nan)])


def test_focusing_is_divided_out_of_the_transmission_if_asked(processor: Processor) -> None:
    """A converging lens: u = −x/30, det(1 − ∇u) = (31/30)²; only the transmission changes."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    shrunk = Displacement(
        ux_px=torch.from_numpy(-(columns - 56) / 30.0).float()[None],
        uy_px=torch.from_numpy(-(rows - 48) / 30.0).float()[None],
        valid=torch.ones(1, *SHAPE, dtype=torch.bool),
        transmission=torch.full((1, *SHAPE), 0.9 * (31 / 30) ** 2),
    )
    as_measured, divided = (
        Processor(Known(shrunk), divide_focusing=option).process(batch(SAMPLE))
        for option in (False, True)
    )
    inner = (0, slice(24, -24), slice(24, -24))
    assert as_measured.displacement.transmission is not None
    assert divided.displacement.transmission is not None
    assert as_measured.displacement.transmission[inner].mean() == pytest.approx(0.961, abs=1e-3)
    assert divided.displacement.transmission[inner].mean() == pytest.approx(0.9, abs=2e-3)
    np.testing.assert_array_equal(divided.displacement.ux_px, as_measured.displacement.ux_px)
    np.testing.assert_array_equal(divided.phase, as_measured.phase)


def test_phase_of_a_drifted_frame_is_where_the_rays_left_the_sample() -> None:
    """A drift of 6 px beside a wave of 0.5 px: the phase is the wave's, 6 px to the left."""
    columns = np.arange(SHAPE[1], dtype=np.float64)
    wave = 0.5 * np.sin(2 * np.pi * columns / 28)

    def phase(drift_px: float) -> NDArray[Any]:
        ux = np.broadcast_to(drift_px + wave, (1, *SHAPE)).copy()
        found = Displacement(
            ux_px=torch.from_numpy(ux).float(),
            uy_px=torch.zeros(1, *SHAPE),
            valid=torch.ones(1, *SHAPE, dtype=torch.bool),
        )
        row = Processor(Known(found)).process(batch(SAMPLE)).phase
        assert row is not None
        return np.asarray(row[0, 40] - drift_px * columns * PHASE_PER_PX)

    still, moved = phase(0.0), phase(6.0)
    assert np.isfinite(still).all()
    assert np.isnan(moved[-6:]).all()
    expected, found = still[20:90], moved[14:84]
    # The wave's own 0.5 px, which is resampled along with the drift, shears it a little.
    error = (found - found.mean()) - (expected - expected.mean())
    assert error.std() < 0.15 * expected.std()
    unshifted = moved[20:90] - moved[20:90].mean() - expected + expected.mean()
    assert unshifted.std() > 0.8 * expected.std()
