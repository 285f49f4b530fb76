"""Samples that wait for a reference: how many, how long, and what becomes of them."""

from __future__ import annotations

import contextlib
import gc
import socket
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cade.errors import CadeError
from cade.frames import Beamline, Frame, Reason, Rejected, Role, SeriesEnd, SeriesStart
from daemon import pairing as pairing_module
from daemon.accounting import Account
from daemon.batches import PairBatch, SeriesClosed, SeriesOpened, ToTracker
from daemon.pairing import Pairing
from daemon.references.conditions import Conditions
from daemon.references.store import ReferenceStore
from daemon.references.waiting_frames import WaitingFrames
from daemon.service import Service
from daemon.settings import Settings
from tests.speckle import counts, moved, speckle

PATTERN = speckle((96, 112))
PIXELS = counts(PATTERN)
TIME_S = 1.7e9
BEAMLINE = Beamline(energy_ev=3e4, pixel_size_m=1e-5, distance_m=2.0, exposure_s=0.1)


class Bench:
    """Pairing whose account is checked after every message; `fates` is what became of frames."""

    def __init__(self, folder: Path, **references: Any) -> None:
        self.folder = folder / "references"
        wanted = {"path": self.folder, "wait_s": 1000.0, **references}
        self.settings = Settings.model_validate({"batch": {"size": 1}, "references": wanted})
        self.store = ReferenceStore(self.folder)
        self.account = Account()
        self.pairing = Pairing(self.settings, self.store, self.account)
        self.fates: dict[tuple[str, int], Any] = {}
        self.closed: list[str] = []
        self.pairs: list[PairBatch] = []

    def drain(self, messages: Any) -> None:
        for message in messages:
            self.note(message)
            totals = self.account.totals()
            assert 0 <= totals.held <= totals.waiting

    def note(self, message: ToTracker) -> None:
        match message:
            case PairBatch():
                self.account.write(len(message))
                self.pairs.append(message)
                for frame in message.samples:
                    self.settle(frame.series_id, frame.image_id, message.reference.reference_id)
            case Rejected():
                self.settle(message.series_id, message.image_id, message.reason)
            case SeriesClosed():
                self.closed.append(message.series_id)
            case SeriesOpened():
                assert message.series_id not in self.closed

    def settle(self, series_id: str, image_id: int, fate: Any) -> None:
        assert (series_id, image_id) not in self.fates, "each frame has one fate"
        assert series_id not in self.closed, "nothing comes after the end"
        self.fates[series_id, image_id] = fate

    def start(
        self, series_id: str, role: Role | None = None, beamline: Beamline = BEAMLINE
    ) -> None:
        self.drain(self.pairing.take(SeriesStart(series_id, TIME_S, role=role, beamline=beamline)))

    def frame(
        self, series_id: str, image_id: int = 0, later_s: float = 0.0, data: Any = PIXELS
    ) -> None:
        self.account.receive()
        self.drain(self.pairing.take(Frame(series_id, image_id, data, TIME_S + later_s)))

    def end(self, series_id: str) -> None:
        self.drain(self.pairing.take(SeriesEnd(series_id)))

    def series(
        self,
        series_id: str,
        count: int = 1,
        later_s: float = 0.0,
        role: Role | None = None,
        data: Any = PIXELS,
        beamline: Beamline = BEAMLINE,
    ) -> None:
        self.start(series_id, role, beamline)
        for image_id in range(count):
            self.frame(series_id, image_id, later_s + image_id, data)
        self.end(series_id)

    def reference(self, later_s: float, **values: Any) -> str:
        self.series(f"r{later_s:g}", 1, later_s, Role.REFERENCE, **values)
        return max(self.store.list().references, key=lambda s: s.timestamp_s).reference_id

    def look(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As if the time to look at the store had come."""
        with monkeypatch.context() as patch:
            patch.setattr(pairing_module, "LOOK_S", 0.0)
            self.drain(self.pairing.flush())

    def finish(self) -> None:
        self.drain(self.pairing.finish())
        totals = self.account.totals()
        assert (totals.waiting, totals.held) == (0, 0)


# ---------------------------------------------------------------- reference after the scan


def test_the_reference_after_the_scan(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.series("a", 3)
    assert bench.fates == {}
    assert bench.closed == []
    totals = bench.account.totals()
    assert (totals.received, totals.waiting, totals.held) == (3, 3, 3)
    assert str(totals).endswith("3 waiting, 3 of them for a reference")
    reference_id = bench.reference(10.0)
    assert bench.fates == {("a", n): reference_id for n in range(3)}
    assert bench.closed == ["a", "r10"]
    assert bench.account.totals().held == 0
    bench.finish()


def test_samples_before_their_references_in_one_series(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.start("a")
    bench.frame("a", 0)
    bench.account.receive()
    last = Frame("a", 1, PIXELS, TIME_S + 1, Role.REFERENCE)
    bench.drain(bench.pairing.take(last))
    assert bench.fates == {}
    bench.end("a")
    assert set(bench.fates) == {("a", 0)}
    assert bench.closed == ["a"]
    bench.finish()


def test_five_hundred_frames_at_a_bounded_memory(tmp_path: Path) -> None:
    """64 kB each, 32 MB in all; 2 MB of memory are allowed, the rest goes to the disk."""
    bench = Bench(tmp_path, wait_memory_bytes=2 << 20, wait_spool_bytes=40 << 20)
    base = np.arange(128 * 256, dtype="u2").reshape(128, 256)
    gc.collect()
    tracemalloc.start()
    try:
        bench.start("a")
        for number in range(500):
            bench.frame("a", number, number, base + np.uint16(number))
        bench.end("a")
        held_bytes, _ = tracemalloc.get_traced_memory()
        assert bench.account.totals().held == 500
        bench.start("r", Role.REFERENCE)
        bench.frame("r", 0, 600, base)
        tracemalloc.reset_peak()
        messages = bench.pairing.take(SeriesEnd("r"))
        for message in messages:  # one at a time, as a bounded queue takes them
            if isinstance(message, PairBatch):
                [frame] = message.samples
                np.testing.assert_array_equal(frame.data, base + np.uint16(frame.image_id))
                bench.account.write(1)
                totals = bench.account.totals()
                assert totals.received == totals.written + totals.kept + totals.waiting
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 4 << 20
    assert peak_bytes < 8 << 20
    assert (bench.account.totals().written, bench.account.totals().waiting) == (500, 0)
    assert {path.suffix for path in bench.folder.iterdir()} == {".h5"}


def test_a_full_room_is_a_reason_and_what_has_room_goes_on(tmp_path: Path) -> None:
    size = PIXELS.nbytes
    bench = Bench(tmp_path, wait_memory_bytes=size, wait_spool_bytes=2 * size)
    bench.series("a", 5)
    assert bench.fates == {("a", 3): Reason.NO_ROOM, ("a", 4): Reason.NO_ROOM}
    reference_id = bench.reference(10.0)
    assert [bench.fates["a", n] for n in range(3)] == [reference_id] * 3
    bench.finish()


def test_what_waits_for_a_better_reference_takes_what_there_is_where_the_room_is_full(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, choice="nearest", wait_memory_bytes=0, wait_spool_bytes=0)
    reference_id = bench.reference(0.0)
    bench.series("a", 2, 5.0)
    assert set(bench.fates.values()) == {reference_id}
    bench.finish()


def test_the_end_of_the_daemon_ends_the_waiting(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.series("a", 2)
    bench.start("b")
    bench.frame("b")
    bench.finish()
    assert set(bench.fates.values()) == {Reason.NO_REFERENCE}
    assert sorted(bench.closed) == ["a", "b"]


def test_so_does_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, wait_s=0.05)
    bench.series("a", 2)
    due_s = bench.pairing.due_in_s()
    assert due_s is not None
    assert due_s <= pairing_module.LOOK_S
    time.sleep(0.06)
    bench.look(monkeypatch)
    assert set(bench.fates.values()) == {Reason.NO_REFERENCE}
    assert bench.closed == ["a"]
    assert bench.pairing.due_in_s() is None


def test_not_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    bench.series("a")
    bench.look(monkeypatch)
    assert bench.fates == {}
    bench.finish()


def test_a_reference_by_hand_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    bench.series("a", 2)
    other = Conditions(energy_ev=1e4)
    bench.store.add([("0", PIXELS)], timestamp_s=TIME_S, conditions=other)
    bench.look(monkeypatch)
    assert bench.fates == {}
    added = bench.store.add([("0", PIXELS)], timestamp_s=TIME_S + 50)
    bench.look(monkeypatch)
    assert set(bench.fates.values()) == {added.reference_id}
    bench.finish()


def test_a_name_that_comes_again_while_its_samples_wait(tmp_path: Path) -> None:
    """Detectors that number anew: the second series is one of its own."""
    bench = Bench(tmp_path)
    bench.series("7", 2)
    bench.series("7", 1)
    bench.series("7", 1, 5.0, Role.REFERENCE)
    assert set(bench.fates) == {("7", 0), ("7", 1), ("7 (2)", 0)}
    assert sorted(bench.closed) == ["7", "7 (2)", "7 (3)"]
    bench.start("7")
    bench.start("7")
    bench.finish()


def test_waiting_for_a_reference_is_no_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd's watchdog is fed while all that waits is held; not while something else does."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        sources = [{"kind": "folder", "path": str(tmp_path)}]
        service = Service(Settings.model_validate({"sources": sources}))

        def fed() -> bool:
            service._beat()
            found = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    found.append(systemd.recv(4096))
            return b"WATCHDOG=1" in found

        assert fed()
        service.account.receive()
        assert not fed()
        service.account.hold()
        assert fed()
        assert fed()
        service.account.receive()
        assert not fed()
        service._context.destroy(linger=0)


# ---------------------------------------------------------------- which one serves


def test_interpolated_samples_wait_for_the_reference_after_them(tmp_path: Path) -> None:
    bench = Bench(tmp_path, choice="interpolated")
    first = bench.reference(0.0, data=PIXELS)
    bench.series("a", 3, 5.0)  # at 5, 6 and 7 s
    assert bench.fates == {}
    second = bench.reference(20.0, data=PIXELS + 64)
    assert bench.fates["a", 0] == f"0.750*{first} + 0.250*{second}"
    np.testing.assert_allclose(bench.pairs[0].reference.data, PIXELS + 16.0)
    bench.series("b", 1, 30.0)
    bench.finish()
    assert bench.fates["b", 0] == second


def test_nearest_waits_for_what_may_be_nearer(tmp_path: Path) -> None:
    bench = Bench(tmp_path, choice="nearest")
    first = bench.reference(0.0)
    bench.series("a", 2, 9.5)  # at 9.5 and 10.5 s
    assert bench.fates == {}
    second = bench.reference(20.0)
    assert bench.fates == {("a", 0): first, ("a", 1): second}
    bench.finish()


def test_pinned(tmp_path: Path) -> None:
    pinned = Bench(tmp_path).reference(0.0)
    bench = Bench(tmp_path, choice="pinned", pinned=pinned, max_age_s=1.0)
    bench.reference(10.0)
    bench.series("a", 2, 20.0)
    assert set(bench.fates.values()) == {pinned}
    bench.finish()


MISMATCHES = [
    (Beamline(2.5e4, exposure_s=0.1), PIXELS, Reason.REFERENCE_ENERGY),
    (Beamline(3e4, exposure_s=0.2), PIXELS, Reason.REFERENCE_EXPOSURE),
    (Beamline(3e4, distance_m=1.0, exposure_s=0.1), PIXELS, Reason.REFERENCE_DISTANCE),
    (Beamline(3e4, detector="other"), PIXELS, Reason.REFERENCE_DETECTOR),
    (Beamline(3e4, diffuser_m=2e-3), PIXELS, Reason.REFERENCE_DIFFUSER),
    (BEAMLINE, PIXELS[:90], Reason.REFERENCE_SHAPE),
]


@pytest.mark.parametrize(("beamline", "data", "reason"), MISMATCHES)
@pytest.mark.parametrize("wait_s", [0.0, 1000.0])
def test_a_mismatched_reference_is_refused_with_the_reason(
    tmp_path: Path, beamline: Beamline, data: Any, reason: Reason, wait_s: float
) -> None:
    bench = Bench(tmp_path, wait_s=wait_s)
    taken = Beamline(3e4, distance_m=2.0, exposure_s=0.1, detector="eiger", diffuser_m=1e-3)
    bench.reference(0.0, beamline=taken)
    bench.series("a", 2, 5.0, data=data, beamline=beamline)
    bench.finish()
    assert bench.fates == {("a", 0): reason, ("a", 1): reason}
    assert bench.account.totals().rejected == {reason: 2}
    assert bench.closed == ["r0", "a"]


@pytest.mark.parametrize("action", ["refuse", "warn", "count"])
@pytest.mark.parametrize("kind", ["old", "drifted", "foreign"])
def test_old_and_drifted_references(
    tmp_path: Path, kind: str, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits = {"max_age_s": 8.0, "when_old": action, "max_drift_px": 2.0, "when_drifted": action}
    bench = Bench(tmp_path, **limits)
    reference_id = bench.reference(0.0)
    bad = {
        "old": PIXELS,
        "drifted": counts(moved(PATTERN, 2.5, 0.0)),
        "foreign": counts(speckle(PATTERN.shape, 7)),
    }[kind]
    reason = Reason.REFERENCE_OLD if kind == "old" else Reason.REFERENCE_DRIFTED
    bench.start("a")
    bench.frame("a", 0, 5.0, counts(moved(PATTERN, 1.5, -0.5)))
    for number in (1, 2):
        bench.frame("a", number, 8.5 if kind == "old" else 5.0, bad)
    bench.end("a")
    bench.finish()
    assert bench.fates["a", 0] == reference_id
    [drift_px] = bench.pairs[0].drifts_px
    assert drift_px == pytest.approx((1.5, -0.5), abs=0.05)
    fate = reason if action == "refuse" else reference_id
    assert (bench.fates["a", 1], bench.fates["a", 2]) == (fate, fate)
    assert bench.account.totals().doubted == ({} if action == "refuse" else {reason: 2})
    warned = [r for r in caplog.records if r.getMessage() == "doubtful reference"]
    assert len(warned) == (action == "warn")
    if kind == "foreign" and action != "refuse":
        assert bench.pairs[1].drifts_px == (None,)


def test_drift_is_not_measured_unless_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.reference(0.0)
    bench.series("a", 1, 5.0, data=counts(moved(PATTERN, 9.0, 0.0)))
    assert bench.pairs[0].drifts_px == (None,)
    asked = Bench(tmp_path, remove_drift=True)
    asked.series("a", 1, 5.0, data=counts(moved(PATTERN, 9.0, 0.0)))
    [drift_px] = asked.pairs[0].drifts_px
    assert drift_px == pytest.approx((9.0, 0.0), abs=0.05)


def test_odd_frames_of_a_reference_are_rejected_and_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.start("r", Role.REFERENCE)
    for number in range(7):
        bench.frame("r", number, number, counts(PATTERN * (0.5 if number in (1, 6) else 1)))
    bench.end("r")
    assert bench.fates == {("r", 1): Reason.OUTLIER, ("r", 6): Reason.OUTLIER}
    totals = bench.account.totals()
    assert (totals.received, totals.kept, totals.rejected) == (7, 5, {Reason.OUTLIER: 2})
    [summary] = bench.store.list().references
    assert summary.frame_count == 5
    assert [line.split(":")[0] for line in summary.left_out] == ["1", "6"]
    assert summary.conditions == Conditions("", 3e4, 0.1, 2.0)
    assert summary.timestamp_s == TIME_S


# ---------------------------------------------------------------- the room itself


def test_room_is_used_again(tmp_path: Path) -> None:
    room = WaitingFrames(0, 3 * PIXELS.nbytes, tmp_path / "new")
    for turn in range(3):
        for number in range(3):
            data = PIXELS + np.uint16(10 * turn + number)
            assert room.hold(Frame("a", number, data, 0.0)) == ""
        assert "references.wait_spool_bytes are full" in room.hold(Frame("a", 3, PIXELS, 0.0))
        for number, held in enumerate(room.of("a")):
            frame = room.load(held)
            np.testing.assert_array_equal(frame.data, PIXELS + np.uint16(10 * turn + number))
            assert (frame.image_id, frame.data.dtype) == (number, PIXELS.dtype)
            if turn < 2 or number:  # one stays to the last
                room.drop(held)
        if turn == 2:
            assert room.hold(Frame("b", 0, PIXELS, 0.0)) == ""
    assert len(room) == 2


def test_a_spool_that_cannot_be_written_is_no_room(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    room = WaitingFrames(0, 1 << 20, tmp_path / "file")
    assert "cannot be written" in room.hold(Frame("a", 0, PIXELS, 0.0))
    assert len(room) == 0


def test_a_spool_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    room = WaitingFrames(0, 1 << 20, tmp_path)
    room.hold(Frame("a", 0, PIXELS, 0.0))
    assert room._spool is not None
    room._spool.truncate(100)
    with pytest.raises(CadeError, match="the spool cannot be read"):
        room.load(room.of("a")[0])


def test_a_frame_that_the_spool_has_lost_is_rejected(tmp_path: Path) -> None:
    bench = Bench(tmp_path, wait_memory_bytes=0)
    bench.series("a", 2)
    spool = bench.pairing._waiting._spool
    assert spool is not None
    spool.truncate(PIXELS.nbytes)
    reference_id = bench.reference(10.0)
    assert bench.fates == {("a", 0): reference_id, ("a", 1): Reason.UNREADABLE}
    bench.finish()
