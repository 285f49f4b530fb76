"""The last stage: files opened, filled and closed, and losses that have no file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cade.displacement import Displacement
from cade.frames import Beamline, Reason, Rejected
from daemon.accounting import Account
from daemon.batches import SeriesClosed, SeriesOpened
from daemon.correction.correction import Correction
from daemon.recording import recorder as module
from daemon.recording.recorder import Recorder
from daemon.recording.results import ResultRows, StageTimes, measure_quality
from daemon.recording.scan_header import TrackerProvenance
from daemon.settings import OutputSettings

SHAPE = (3, 4)


def opened(series_id: str) -> SeriesOpened:
    return SeriesOpened(series_id, 7, 1.7e9, SHAPE, None, Beamline(), Correction())


def rows(series_id: str, *image_ids: int) -> ResultRows:
    count = len(image_ids)
    zeros, times = np.zeros((count, *SHAPE), "f4"), np.zeros(count)
    displacement: Displacement[Any] = Displacement(
        zeros, zeros, zeros == 0, transmission=zeros, dark_field=zeros
    )
    return ResultRows(
        series_id=series_id,
        image_ids=np.array(image_ids),
        timestamps_s=times + 1.7e9,
        reference_ids=("r",) * count,
        displacement=displacement,
        refraction=None,
        phase=None,
        quality=measure_quality(displacement),
        times=StageTimes(times, times, times, times),
        drifts_px=np.full((count, 2), np.nan),
    )


def loss(series_id: str, image_id: int, reason: Reason = Reason.EMPTY) -> Rejected:
    return Rejected(series_id, image_id, reason, "detail")


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    settings = OutputSettings(root=tmp_path, compression="none")
    return Recorder(settings, TrackerProvenance("zncc", "1"), "", Account())


def written(folder: Path) -> dict[str, tuple[list[int], list[int]]]:
    """Rows and losses of each file."""
    found = {}
    for path in sorted(folder.rglob("*.h5")):
        with h5py.File(path) as file:
            ids = (file[f"entry/{group}/image_id"][()].tolist() for group in ("frames", "rejected"))
            found[path.stem.removeprefix("000007_20231114T221320")] = (next(ids), next(ids))
    return found


def test_series_into_files_of_their_own(recorder: Recorder, tmp_path: Path) -> None:
    for message in (opened("a"), rows("a", 0, 1), opened("b"), rows("b", 5), rows("a", 2)):
        recorder.take(message)
    recorder.take(SeriesClosed("a"))
    recorder.close()
    assert written(tmp_path) == {"": ([0, 1, 2], []), "_1": ([5], [])}
    assert recorder.last_file.endswith("_1.h5")


def test_losses_before_the_first_row(recorder: Recorder, tmp_path: Path) -> None:
    for message in (loss("a", 0), loss("b", 1), loss("a", 2), opened("a"), loss("a", 3)):
        recorder.take(message)
    recorder.take(SeriesClosed("b"))  # never had a sample
    recorder.close()
    assert written(tmp_path) == {"": ([], [0, 2, 3])}


def test_losses_of_no_series_do_not_pile_up(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_EARLY", 3)
    for number in range(5):
        recorder.take(loss(f"hostile {number}", number))
    recorder.take(loss("a", 9))
    recorder.take(opened("a"))
    recorder.take(loss("hostile 0", 10, Reason.NO_SERIES))
    recorder.take(loss("a", 11))
    recorder.close()
    assert written(tmp_path) == {"": ([], [11])}
    recorder.take(opened("hostile 1"))
    recorder.close()
    assert written(tmp_path)["_1"] == ([], [1])


def test_the_first_loss_of_each_kind_is_logged(
    recorder: Recorder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SEEN", 3)
    for series, reason in (
        ("a", Reason.EMPTY), ("a", Reason.EMPTY), ("a", Reason.MALFORMED), ("b", Reason.EMPTY),
        ("c", Reason.EMPTY),
    ):  # fmt: skip
        recorder.take(loss(series, 0, reason))
    logged = [r.__dict__["series"] for r in caplog.records if r.levelname == "WARNING"]
    assert logged == ["a", "a", "b"]
    recorder.take(SeriesClosed("a"))
    recorder.take(loss("a", 0))
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 4
