"""The detector's settings on the live path: what is kept, rejected, and opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cade.errors import CadeError, UsageError
from cade.frames import Beamline, Frame, Reason, Rejected, Role, SeriesEnd, SeriesStart
from daemon.accounting import Account
from daemon.batches import PairBatch, SeriesOpened, ToTracker
from daemon.pairing import Pairing
from daemon.references.store import ReferenceStore
from daemon.settings import Settings

SHAPE = (6, 8)
PIXELS = np.arange(1, 49, dtype="u2").reshape(SHAPE)
BEAMLINE = Beamline(energy_ev=3e4, pixel_size_m=1e-5, distance_m=2.0)


class Bench:
    """Pairing with its store."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        tree: dict[str, Any] = {"batch": {"size": 1}, "references": {"wait_s": 0.0}}
        self.store = ReferenceStore(folder / "references")
        self.pairing = Pairing(Settings.model_validate(tree | settings), self.store, Account())
        self.messages: list[ToTracker] = []

    def series(
        self, name: str, role: Role, *images: NDArray[Any], stated: float | None = None,
        monitors: tuple[float | None, ...] = (), **start: Any,
    ) -> None:  # fmt: skip
        self.messages += self.pairing.take(
            SeriesStart(name, 1.7e9, role=role, beamline=BEAMLINE, **start)
        )
        for number, image in enumerate(images):
            monitor = monitors[number] if monitors else None
            frame = Frame(name, number, image, 1.7e9, saturation_value=stated, monitor=monitor)
            self.messages += self.pairing.take(frame)
        self.messages += self.pairing.take(SeriesEnd(name))

    def all(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind)]

    def stored(self) -> Any:
        [summary] = self.store.list().references
        return self.store.load(summary)


def test_a_stored_reference_is_the_whole_frame(tmp_path: Path) -> None:
    """Another region, rotation or mask later does not make it wrong."""
    np.save(tmp_path / "mask.npy", np.eye(6, 8))
    first = Bench(
        tmp_path, detector={"mask": tmp_path / "mask.npy", "roi": (0, 4, 0, 4), "binning": 2}
    )
    first.series("r", Role.REFERENCE, PIXELS)
    np.testing.assert_array_equal(first.stored().data, PIXELS)
    later = Bench(tmp_path, detector={"rotation_deg": 90, "roi": (2, 8, 0, 6)})
    later.series("s", Role.SAMPLE, PIXELS)
    [batch] = later.all(PairBatch)
    np.testing.assert_array_equal(batch.reference.data, PIXELS)
    assert (batch.series.shape, batch.series.image_shape) == (SHAPE, (6, 6))


def test_a_saturated_pixel_is_missing_in_the_average(tmp_path: Path) -> None:
    """In one frame of two: half of it is no mean."""
    bench = Bench(tmp_path)
    clipped = PIXELS.copy()
    clipped[2, 3] = 1000
    bench.series("r", Role.REFERENCE, PIXELS, clipped, stated=1000)
    data = bench.stored().data
    assert np.argwhere(np.isnan(data)).tolist() == [[2, 3]]
    np.testing.assert_array_equal(data[3], PIXELS[3])


def test_a_hot_pixel_of_the_dark_is_invalid(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    dark = np.ones(SHAPE, "u2")
    dark[1, 1] = 65535
    bench.series("d", Role.DARK, dark)
    bench.series("r", Role.REFERENCE, PIXELS)
    bench.series("s", Role.SAMPLE, PIXELS)
    [opened] = bench.all(SeriesOpened)
    assert np.argwhere(np.isnan(opened.correction.dark)).tolist() == [[1, 1]]


def test_the_reference_keeps_its_monitor(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.series("r", Role.REFERENCE, *[PIXELS] * 4, monitors=(1.0, None, 3.0, -7.0))
    assert bench.stored().monitor == 2.0
    bench.series("s", Role.SAMPLE, PIXELS, monitors=(4.0,))
    [batch] = bench.all(PairBatch)
    assert (batch.reference.monitor, batch.samples[0].monitor) == (2.0, 4.0)
    assert batch.series.normalisation.by == "monitor"


def test_a_reference_without_monitor_has_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.series("r", Role.REFERENCE, PIXELS)
    assert bench.stored().monitor is None
    _, average = bench.store.show(bench.stored().reference_id)
    assert average.monitor is None


def test_left_out_frames_leave_their_monitor_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    images = [PIXELS + 100] * 6
    images[2] = PIXELS + 9000
    bench.series("r", Role.REFERENCE, *images, monitors=(1.0, 1.0, 50.0, 1.0, 1.0, 1.0))
    assert bench.stored().frame_count == 5
    assert bench.stored().monitor == 1.0


def test_interpolated_references_have_an_interpolated_monitor(tmp_path: Path) -> None:
    store = ReferenceStore(tmp_path / "references")
    for time_s, monitor in ((1.7e9 - 30, 1.0), (1.7e9 + 10, 2.0)):
        store.add([("f", PIXELS)], timestamp_s=time_s, monitor=monitor)
    bench = Bench(tmp_path, references={"wait_s": 0.0, "choice": "interpolated"})
    bench.series("s", Role.SAMPLE, PIXELS)
    [batch] = bench.all(PairBatch)
    assert batch.reference.monitor == pytest.approx(1.75)


def test_the_geometry_of_binned_pixels(tmp_path: Path) -> None:
    bench = Bench(tmp_path, detector={"binning": 2})
    bench.series("r", Role.REFERENCE, PIXELS)
    bench.series("s", Role.SAMPLE, PIXELS)
    [opened] = bench.all(SeriesOpened)
    assert opened.geometry.pixel_size_m == pytest.approx(2e-5)
    assert (opened.shape, opened.image_shape) == (SHAPE, (3, 4))


def test_the_detectors_own_mask_and_flat_field(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    mask = np.zeros(SHAPE, "u4")
    mask[0, 5] = 2
    flatfield = np.full(SHAPE, 1.5, "f4")
    images: dict[str, Any] = {"pixel_mask": mask, "flatfield": flatfield, "shape": SHAPE}
    bench.series("r", Role.REFERENCE, PIXELS)
    bench.series("s", Role.SAMPLE, PIXELS, **images)
    bench.series("t", Role.SAMPLE, PIXELS)
    with_both, without = bench.all(SeriesOpened)
    gain = with_both.correction.gain
    assert np.argwhere(np.isnan(gain)).tolist() == [[0, 5]]
    assert np.nanmax(gain) == np.nanmin(gain) == 1.5
    said = {p.name: p.value for p in with_both.steps}
    assert (said["mask"], said["flatfield"]) == ("start message", "start message")
    assert without.correction.gain is None


def test_one_correction_for_all_series_with_the_same_images(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.series("r", Role.REFERENCE, PIXELS)
    bench.series("s", Role.SAMPLE, PIXELS)
    bench.series("t", Role.SAMPLE, PIXELS)
    bench.series("f", Role.FLAT, PIXELS)
    bench.series("u", Role.SAMPLE, PIXELS)
    first, second, third = (opened.correction for opened in bench.all(SeriesOpened))
    assert first is second
    assert third is not second


def test_frames_that_the_mask_does_not_fit_are_rejected_one_by_one(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.zeros((6, 9)))
    bench = Bench(tmp_path, detector={"mask": tmp_path / "mask.npy"})
    bench.series("r", Role.REFERENCE, PIXELS)
    bench.series("w", Role.REFERENCE, np.arange(54, dtype="u2").reshape(6, 9))
    [rejected] = bench.all(Rejected)
    assert rejected.reason is Reason.WRONG_SHAPE
    assert "mask.npy) has shape (6, 9), the frame (6, 8)" in rejected.detail
    assert bench.stored().data.shape == (6, 9)


def test_a_region_beyond_the_frame_rejects(tmp_path: Path) -> None:
    bench = Bench(tmp_path, detector={"roi": (0, 6, 0, 9)})
    bench.series("s", Role.SAMPLE, PIXELS)
    [rejected] = bench.all(Rejected)
    assert rejected.reason is Reason.WRONG_SHAPE
    assert "detector.roi = [0, 6, 0, 9] reaches beyond" in rejected.detail


def test_what_is_wrong_with_the_settings_is_said_before_the_first_frame(tmp_path: Path) -> None:
    with pytest.raises(CadeError, match=r"detector\.mask: .*gone\.tif: does not exist"):
        Bench(tmp_path, detector={"mask": tmp_path / "gone.tif"})
    with pytest.raises(UsageError, match="free_air"):
        Bench(tmp_path, detector={"roi": (0, 2, 0, 2)}, transmission={"free_air": (4, 6, 4, 6)})
