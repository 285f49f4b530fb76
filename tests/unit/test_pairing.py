"""What becomes of frames: their role, their reference, their batch, or their reason."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cade.errors import CadeError
from cade.frames import Beamline, Frame, Reason, Rejected, Role, SeriesEnd, SeriesStart
from cade.geometry import Geometry
from daemon.accounting import Account
from daemon.batches import PairBatch, SeriesClosed, SeriesOpened, ToTracker
from daemon.pairing import MOST_NUMBER, Pairing
from daemon.references.store import ReferenceStore
from daemon.settings import Settings

SHAPE = (6, 8)
PIXELS = np.arange(48, dtype="u2").reshape(SHAPE)
BEAMLINE = Beamline(energy_ev=3e4, pixel_size_m=1e-5, distance_m=2.0)
TIME_S = 1.7e9


class Bench:
    """Pairing with its store and account; `fate` is what an event led to, in short."""

    def __init__(self, folder: Path, **settings: object) -> None:
        tree: dict[str, object] = {
            "batch": {"size": 2, "wait_s": 100.0},
            "references": {"wait_s": 0.0},
        }
        self.settings = Settings.model_validate(tree | settings)
        self.store = ReferenceStore(folder / "references")
        self.account = Account()
        self.pairing = Pairing(self.settings, self.store, self.account)
        self.messages: list[ToTracker] = []

    def take(self, event: SeriesStart | Frame | SeriesEnd | Rejected) -> list[object]:
        return self._short(list(self.pairing.take(event)))

    def start(self, series_id: str = "a", role: Role | None = None, **values: Any) -> list[object]:
        return self.take(SeriesStart(series_id, TIME_S, role=role, beamline=BEAMLINE, **values))

    def frame(
        self,
        image_id: int,
        role: Role | None = None,
        data: NDArray[Any] = PIXELS,
        series_id: str = "a",
        **values: Any,
    ) -> list[object]:
        return self.take(Frame(series_id, image_id, data, TIME_S, role, **values))

    def end(self, series_id: str = "a") -> list[object]:
        return self.take(SeriesEnd(series_id))

    def flush(self) -> list[object]:
        return self._short(list(self.pairing.flush()))

    def finish(self) -> list[object]:
        return self._short(list(self.pairing.finish()))

    def last(self, kind: type[Any]) -> Any:
        return [message for message in self.messages if isinstance(message, kind)][-1]

    def _short(self, messages: list[ToTracker]) -> list[object]:
        self.messages += messages
        return [
            [f.image_id for f in m.samples]
            if isinstance(m, PairBatch)
            else m.reason
            if isinstance(m, Rejected)
            else type(m)
            for m in messages
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def ready(bench: Bench) -> Bench:
    """A reference has been taken."""
    bench.start("reference", Role.REFERENCE)
    bench.frame(0, series_id="reference")
    bench.end("reference")
    bench.start()
    return bench


def test_references_are_averaged_and_samples_paired_with_them(bench: Bench) -> None:
    assert bench.start("r", Role.REFERENCE) == []
    assert bench.frame(0, series_id="r", data=PIXELS) == []
    assert bench.frame(1, series_id="r", data=PIXELS + 4) == []
    assert bench.end("r") == [SeriesClosed]
    bench.start()
    assert [bench.frame(n) for n in range(3)] == [[SeriesOpened], [[0, 1]], []]
    assert bench.end() == [[2], SeriesClosed]
    reference = bench.last(PairBatch).reference
    np.testing.assert_array_equal(reference.data, PIXELS + 2.0)
    assert reference.frame_count == 2
    assert (bench.account.totals().kept, bench.account.totals().rejected) == (2, {})
    [stored] = bench.store.list().references
    assert (stored.reference_id, stored.origin) == (reference.reference_id, "series r")


def test_what_a_series_is_when_it_opens(ready: Bench) -> None:
    ready.frame(0)
    opened = ready.last(SeriesOpened)
    assert (opened.series_id, opened.number, opened.start_time_s) == ("a", 2, TIME_S)
    assert (opened.shape, opened.beamline) == (SHAPE, BEAMLINE)
    assert opened.geometry == Geometry(3e4, 2.0, 1e-5)
    assert [p.value for p in opened.correction.parameters] == [False, False]


@pytest.mark.parametrize(
    ("frame_role", "series_role", "default", "kept"),
    [
        (None, None, "sample", False),
        (None, None, "reference", True),
        (None, Role.REFERENCE, "sample", True),
        (Role.SAMPLE, Role.REFERENCE, "reference", False),
        (Role.FLAT, None, "sample", True),
        (Role.DARK, Role.SAMPLE, "sample", True),
    ],
)
def test_role_of_the_frame_then_of_the_series_then_the_default(
    tmp_path: Path, frame_role: Role | None, series_role: Role | None, default: str, kept: bool
) -> None:
    bench = Bench(tmp_path, roles={"default": default})
    bench.start(role=series_role)
    bench.frame(0, frame_role)
    assert (bench.account.totals().kept == 1) == kept
    assert (bench.account.totals().rejected == {Reason.NO_REFERENCE: 1}) == (not kept)


def test_references_and_samples_of_one_series(bench: Bench) -> None:
    bench.start()
    assert bench.frame(0, Role.REFERENCE) == []
    assert bench.frame(1) == [SeriesOpened]
    assert bench.frame(2, Role.REFERENCE, PIXELS + 8) == []
    assert bench.frame(3) == [[1]]  # what was tracked against the old one goes first
    assert bench.flush() == [[3]]
    assert bench.last(PairBatch).reference.data[0, 0] == 8


def test_flats_and_darks_make_the_correction_of_the_next_series(ready: Bench) -> None:
    ready.start("calibration")
    for image_id, (role, value) in enumerate([(Role.FLAT, 30), (Role.FLAT, 50), (Role.DARK, 10)]):
        data = np.full(SHAPE, value, "u2")
        data[0, 0] += role is Role.FLAT  # a flat without any variation would be empty
        ready.frame(image_id, role, data, series_id="calibration")
    ready.end("calibration")
    assert ready.account.totals().kept == 4
    ready.frame(0)
    correction = ready.last(SeriesOpened).correction
    assert correction.dark is not None
    np.testing.assert_array_equal(correction.dark, np.full(SHAPE, 10))
    assert correction.gain is not None
    assert correction.gain[1, 1] == pytest.approx(1.0, abs=0.01)


def test_flats_of_another_shape_do_not_apply(ready: Bench) -> None:
    ready.start("calibration", Role.FLAT)
    ready.frame(0, data=PIXELS.T, series_id="calibration")
    ready.end("calibration")
    ready.frame(0)
    assert ready.last(SeriesOpened).correction.gain is None


def test_a_flat_without_light_is_reported_and_left_out(
    ready: Bench, logged_errors: list[str]
) -> None:
    for number, role in enumerate((Role.FLAT, Role.DARK)):
        ready.start(f"c{number}", role)
        ready.frame(0, series_id=f"c{number}")
        ready.end(f"c{number}")
    assert ready.frame(0) == [SeriesOpened]
    assert ready.last(SeriesOpened).correction.gain is None
    assert logged_errors == ["frames are not corrected"]


def test_no_reference_yet_then_one_by_hand(bench: Bench) -> None:
    bench.start()
    assert bench.frame(0) == [SeriesOpened, Reason.NO_REFERENCE]
    detail = bench.last(Rejected).detail
    assert detail.startswith("there is no reference of 6 x 8 pixels yet: take one, or add one with")
    bench.store.add([("0", PIXELS.T)], timestamp_s=TIME_S)  # of no use: another shape
    assert bench.frame(1) == [Reason.REFERENCE_SHAPE]
    added = bench.store.add([("0", PIXELS)], timestamp_s=TIME_S)
    assert bench.frame(2) == []
    assert bench.flush() == [[2]]
    assert bench.last(PairBatch).reference.reference_id == added.reference_id
    assert bench.account.totals().rejected == {Reason.NO_REFERENCE: 1, Reason.REFERENCE_SHAPE: 1}


def test_a_reference_that_is_still_averaged_is_better_than_none(bench: Bench) -> None:
    """Files of a folder may become ready in another order than they were taken."""
    bench.start("r", Role.REFERENCE)
    bench.frame(0, series_id="r")
    bench.start()
    assert bench.frame(0) == [SeriesOpened]
    bench.frame(1, series_id="r", data=PIXELS + 4)
    assert bench.frame(1) == [[0, 1]]
    assert bench.last(PairBatch).reference.frame_count == 1
    bench.end("r")
    bench.frame(2)
    bench.flush()
    assert bench.last(PairBatch).reference.data[0, 0] == 4


@pytest.mark.parametrize(("later_s", "taken"), [(1.0, True), (-1.0, False)])
def test_a_newer_reference_by_hand_counts_from_the_next_series(
    ready: Bench, later_s: float, taken: bool
) -> None:
    ready.frame(0)
    added = ready.store.add([("0", PIXELS + 1)], timestamp_s=TIME_S + later_s)
    ready.frame(1)
    assert ready.last(PairBatch).reference.reference_id != added.reference_id
    ready.end()
    ready.start("b")
    ready.take(Frame("b", 0, PIXELS, TIME_S + 2))
    ready.flush()
    assert (ready.last(PairBatch).reference.reference_id == added.reference_id) == taken


def test_the_stored_reference_serves_after_a_restart(ready: Bench, tmp_path: Path) -> None:
    again = Bench(tmp_path)
    again.start()
    assert again.frame(0) == [SeriesOpened]


def test_two_detectors_keep_their_references_apart(ready: Bench) -> None:
    ready.start("r2", Role.REFERENCE)
    ready.frame(0, data=PIXELS.T, series_id="r2")
    ready.end("r2")
    ready.start("b")
    assert ready.frame(0, data=PIXELS.T, series_id="b") == [SeriesOpened]
    assert ready.frame(0) == [SeriesOpened, [0]]
    assert ready.flush() == [[0]]
    assert ready.last(PairBatch).reference.data.shape == SHAPE


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PIXELS[:-1], Reason.WRONG_SHAPE),
        (PIXELS.astype("u4"), Reason.WRONG_DTYPE),
        (PIXELS * 0, Reason.EMPTY),
        (np.full(SHAPE, 65535, "u2") - PIXELS % 2, Reason.SATURATED),
    ],
)
@pytest.mark.parametrize("role", [Role.SAMPLE, Role.REFERENCE])
def test_a_frame_that_cannot_be_used(
    ready: Bench, data: NDArray[Any], reason: Reason, role: Role
) -> None:
    ready.frame(0)
    assert ready.frame(1, role, data) == [[0], reason]  # in the order of arrival
    assert ready.frame(2) == []
    assert ready.flush() == [[2]]
    assert ready.account.totals().rejected == {reason: 1}
    assert ready.account.totals().kept == 1  # the good reference


def test_the_start_message_says_what_frames_look_like(ready: Bench) -> None:
    ready.start("b", shape=SHAPE, dtype="uint16")
    assert ready.frame(0, data=PIXELS[:-1], series_id="b") == [Reason.WRONG_SHAPE]
    assert ready.frame(1, data=PIXELS.astype("f4"), series_id="b") == [Reason.WRONG_DTYPE]
    assert ready.frame(2, series_id="b") == [SeriesOpened]


def test_too_many_nan(ready: Bench) -> None:
    data = PIXELS.astype("f4")
    ready.start("b")
    data[:1] = np.nan
    assert ready.frame(0, data=data, series_id="b") == [SeriesOpened]
    data[:2] = np.nan
    assert ready.frame(1, data=data, series_id="b") == [[0], Reason.TOO_MANY_INVALID]


def test_what_sources_rejected_passes_in_order(ready: Bench) -> None:
    ready.frame(0)
    malformed = Rejected("a", 1, Reason.MALFORMED, "half a message")
    assert ready.take(malformed) == [[0], Reason.MALFORMED]
    assert ready.last(Rejected) is malformed
    assert ready.account.totals().rejected == {Reason.MALFORMED: 1}


def test_frames_without_a_series(ready: Bench) -> None:
    assert ready.frame(0, series_id="z") == [Reason.NO_SERIES]
    assert ready.last(Rejected).detail == "image of series 'z', which is not open"
    ready.end()
    assert ready.frame(1) == [Reason.NO_SERIES]
    assert ready.end() == []


def test_a_repeated_start_ends_the_series_first(ready: Bench) -> None:
    ready.frame(0)
    assert ready.start() == [[0], SeriesClosed]
    assert ready.frame(0) == [SeriesOpened]
    assert ready.end() == [[0], SeriesClosed]


def test_every_open_series_ends_with_the_daemon(ready: Bench) -> None:
    ready.frame(0)
    ready.start("r2", Role.REFERENCE)
    ready.frame(0, series_id="r2", data=PIXELS + 5)
    assert ready.finish() == [[0], SeriesClosed, SeriesClosed]
    assert len(ready.store.list().references) == 2
    assert ready.finish() == []


def test_geometry_missing_means_no_phase_and_one_warning(
    ready: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    ready.take(SeriesStart("b", TIME_S, beamline=Beamline(energy_ev=3e4)))
    ready.frame(0, series_id="b")
    ready.frame(1, series_id="b")
    assert ready.last(SeriesOpened).geometry is None
    [record] = [r for r in caplog.records if r.levelname == "WARNING"]
    assert record.getMessage() == "no refraction and phase for this series"
    names = "geometry.distance_m, geometry.pixel_size_m: neither set nor in the metadata"
    assert record.__dict__["problem"] == names


def test_metadata_that_cannot_be_is_no_end_of_the_daemon(tmp_path: Path) -> None:
    bench = Bench(tmp_path, geometry={"diffuser": "downstream", "sample_distance_m": 1.0})
    bench.start("r", Role.REFERENCE)
    bench.frame(0, series_id="r")
    bench.end("r")
    bench.start()  # the detector says 2 m, which is beyond the sample
    assert bench.frame(0) == [SeriesOpened]
    assert bench.last(SeriesOpened).geometry is None


@pytest.mark.parametrize("time_s", [0.0, -1e12, 1e300, math.nan])
def test_absurd_times_are_replaced(ready: Bench, time_s: float) -> None:
    before_s = time.time()
    ready.take(SeriesStart("r2", time_s, role=Role.REFERENCE))
    ready.frame(0, series_id="r2", data=PIXELS + 1)
    ready.end("r2")
    ready.take(SeriesStart("b", time_s))
    ready.take(Frame("b", 0, PIXELS, time_s))
    ready.flush()
    [sample] = ready.last(PairBatch).samples
    for found_s in (ready.last(SeriesOpened).start_time_s, sample.timestamp_s):
        assert before_s <= found_s <= time.time()


@pytest.mark.parametrize(
    ("series_id", "number"), [("17", 17), ("9" * 200, MOST_NUMBER), ("scan 17", 2), ("\u00b2", 2)]
)
def test_the_number_of_a_series(bench: Bench, series_id: str, number: int) -> None:
    bench.start("first")
    bench.start(series_id)
    bench.frame(0, series_id=series_id)
    assert bench.last(SeriesOpened).number == number


def test_a_store_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "references").touch()
    bench = Bench(tmp_path)
    bench.start("r", Role.REFERENCE)
    bench.frame(0, series_id="r")
    with pytest.raises(CadeError, match=os.fspath(tmp_path / "references")):
        bench.end("r")


def test_frames_are_not_changed(ready: Bench) -> None:
    data = PIXELS.copy()
    data.flags.writeable = False
    ready.start("r2", Role.REFERENCE)
    ready.frame(0, series_id="r2", data=data)
    ready.frame(0, data=data)
    ready.flush()
    [sample] = ready.last(PairBatch).samples
    assert sample.data is data


@pytest.mark.parametrize(
    ("announced", "ids", "missing"),
    [(4, [0, 1, 2, 3], 0), (4, [0, 1], 2), (None, [0, 3], 2), (None, [0, 1], 0), (2, [0, 1, 2], 0)],
)
def test_images_that_never_came_are_counted(
    tmp_path: Path, announced: int | None, ids: list[int], missing: int
) -> None:
    bench = Bench(tmp_path)
    bench.start(image_count=announced)
    for image_id in ids:
        bench.frame(image_id, Role.REFERENCE)
    bench.end()
    assert bench.account.totals().missing == missing


def test_a_rejected_image_is_not_missing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.start(image_count=2)
    bench.frame(0, Role.REFERENCE)
    bench.take(Rejected("a", 1, Reason.WRONG_SHAPE, "odd"))
    bench.take(Rejected("a", 1, Reason.REPEATED, "again"))
    bench.end()
    assert bench.account.totals().missing == 0
