"""Every wire format: `cade emulate` → the running daemon → a file, all at the same time.

The results are those of `cade process` on the same arrays, and what the faults of the streams have
cost is accounted for as the detectors' own logs say.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cade.frames import Reason, Role
from cade.wire import FORMATS
from simulator.emulator_log import SeriesLog, total
from simulator.replay import SENDERS
from simulator.stream_traits import STREAM_TRAITS
from tests.daemon_process import (
    Daemon,
    Line,
    cade,
    configuration,
    rejected_in,
    rows_in,
)
from tests.emulate_process import emulate
from tests.speckle import SHAPE, counts, moved, speckle

pytestmark = pytest.mark.timeout(900)  # eight processes start at the same time
START_S = 300.0

SHIFTS = [(0.1 * n, 0.3 - 0.1 * n) for n in range(5)]
SMALL = (40, 48)
FIELDS = ("displacement", "refraction", "phase", "transmission", "dark_field")
FAULTS = ["--drop", "2%", "--duplicate", "1%", "--reorder", "1%", "--corrupt", "1%"]
RECEIVERS = {kind: receiver for receiver, kind in SENDERS.items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run: by format the file, and what each detector says it has sent."""

    files: dict[str, Path]
    sent: dict[str, list[SeriesLog]]
    daemon: Daemon
    stopped: Line
    config: Path


class Detector:
    """`cade emulate` in its own process."""

    def __init__(self, name: str, folder: Path, words: Sequence[str], stack: ExitStack) -> None:
        self.name, self._log = name, folder / f"{name}.jsonl"
        files = ["--reference", f"{folder}/references.npy", "--source", f"{folder}/samples.npy"]
        more = ["--role", "sample", "--timeout", str(START_S), "--log", str(self._log)]
        started = emulate("--format", name, *words, *files, *more)
        self._process, self.endpoint = stack.enter_context(started)

    @property
    def source(self) -> Line:
        """The table that receives it."""
        receiver = RECEIVERS[STREAM_TRAITS[self.name].socket]
        return {
            "kind": "stream", "format": self.name, "endpoint": self.endpoint, "socket": receiver,
            "silence_s": 5.0,
        }  # fmt: skip

    def finish(self) -> list[SeriesLog]:
        """Its log, when it has sent everything."""
        assert self._process.wait(timeout=START_S) == 0
        return [SeriesLog.from_json(line) for line in self._log.read_text().splitlines()]


def save_frames(folder: Path, shape: tuple[int, int]) -> None:
    """Three references and five samples."""
    still = speckle(shape)
    np.save(folder / "references.npy", np.stack([counts(still + n) for n in range(3)]))
    np.save(folder / "samples.npy", np.stack([counts(moved(still, *shift)) for shift in SHIFTS]))


def await_rows(daemon: Daemon, count: int) -> None:
    """Until so many are written; patient as long as there are more now and then."""

    def rows() -> int:
        return sum(rows_in(Path(line["file"])) for line in daemon.logged("file opened"))

    for least in np.linspace(1, count, 20, dtype=int):
        daemon.wait_until(lambda least=least: rows() >= least, f"{least} rows")  # type: ignore[misc]


def run(folder: Path, words: Sequence[str], **tables: Any) -> Outcome:
    """Every detector and one daemon, until every series has ended."""
    tables["output"] = {"path": "{root}/{series}.h5"} | tables.get("output", {})
    with ExitStack() as stack:
        detectors = [Detector(name, folder, words, stack) for name in FORMATS]
        config = configuration(
            folder,
            [detector.source for detector in detectors],
            geometry={"energy_ev": 3e4, "pixel_size_m": 1e-5},
            **tables,
        )
        daemon = stack.enter_context(Daemon(config))
        sent = {detector.name: detector.finish() for detector in detectors}
        await_rows(daemon, sum(len(log.sent) for logs in sent.values() for log in logs[1:]))
        daemon.wait_for("series ended", count=2 * len(FORMATS))
        stopped = daemon.stop()
    names = {detector.endpoint: detector.name for detector in detectors}
    files = {
        names[line["series"].rpartition(" ")[2]]: Path(line["file"])
        for line in daemon.logged("file opened")
    }
    return Outcome(files, sent, daemon, stopped, config)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Streams without a fault."""
    folder = tmp_path_factory.mktemp("whole")
    save_frames(folder, SHAPE)
    return run(folder, ["--frames", str(len(SHIFTS))], batch={"size": 1}, tracker={"name": "cade"})


@pytest.fixture(scope="module")
def processed(whole: Outcome) -> Path:
    """What `cade process` makes of the same arrays, with the same settings."""
    folder = whole.config.parent
    words = ["--reference", f"{folder}/references.npy", "--sample", f"{folder}/samples.npy"]
    output = folder / "process.h5"
    done = cade("process", *words, "--output", str(output), "--config", str(whole.config))
    assert (done.returncode, done.stderr) == (0, "")
    return output


@pytest.mark.parametrize("name", FORMATS)
def test_results_are_those_of_cade_process_bit_for_bit(
    whole: Outcome, processed: Path, name: str
) -> None:
    compared = 0
    with h5py.File(whole.files[name], "r") as live, h5py.File(processed, "r") as stored:
        for group in FIELDS:
            assert set(live["entry"][group]) == set(stored["entry"][group])
            for field in live["entry"][group]:
                found, expected = (file["entry"][group][field][()] for file in (live, stored))
                np.testing.assert_array_equal(found, expected, err_msg=f"{group}/{field}")
                compared += found.shape == (len(SHIFTS), *SHAPE)
        medians = np.nanmedian(live["entry/displacement/x"][()], axis=(1, 2))
    assert compared >= 7, "and sigma, where the tracker claims one"
    np.testing.assert_allclose(medians, np.array(SHIFTS)[:, 0], atol=0.05)
    assert rejected_in(whole.files[name]) == []


def test_whole_streams_lose_nothing(whole: Outcome) -> None:
    stopped = whole.stopped
    assert stopped["written"] == len(FORMATS) * len(SHIFTS)
    assert stopped["kept"] == 3 * len(FORMATS)
    assert (stopped["rejected"], stopped["missing"], stopped["waiting"]) == ({}, 0, 0)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Streams in which one image of twenty meets a fault."""
    folder = tmp_path_factory.mktemp("faulty")
    save_frames(folder, SMALL)
    words = ["--frames", "100", "--seed", "3", *FAULTS]
    return run(folder, words, output={"write": ["displacement"]})


def test_account_is_that_of_the_detectors(faulty: Outcome) -> None:
    logs = [log for sent in faulty.sent.values() for log in sent]
    expected, stopped = total(logs), faulty.stopped
    assert stopped["rejected"] == expected.rejected
    assert (stopped["received"], stopped["missing"]) == (expected.received, expected.missing)
    for role, count in ((Role.SAMPLE, "written"), (Role.REFERENCE, "kept")):
        assert stopped[count] == sum(len(log.sent) for log in logs if log.role is role)
    assert stopped["waiting"] == 0


@pytest.mark.parametrize("name", FORMATS)
def test_every_image_is_accounted_for(faulty: Outcome, name: str) -> None:
    path = faulty.files[name]
    [log] = [log for log in faulty.sent[name] if log.role is Role.SAMPLE]
    assert log.dropped
    assert log.duplicated
    assert log.reordered
    assert log.corrupted
    with h5py.File(path, "r") as file:
        image_ids = file["entry/frames/image_id"][()]
        shifts = np.nanmedian(file["entry/displacement/x"][()], axis=(1, 2))
    assert sorted(image_ids) == sorted(log.sent)
    wanted = np.array(SHIFTS)[image_ids % len(SHIFTS), 0]
    np.testing.assert_allclose(shifts, wanted, atol=0.05, err_msg="rows have their own pixels")
    in_series = [(n, str(reason)) for n, reason in log.rejections if reason != Reason.NO_SERIES]
    assert sorted(rejected_in(path)) == sorted(in_series)
    [opened] = [one for one in faulty.daemon.logged("file opened") if one["file"] == str(path)]
    missing = faulty.daemon.logged("images are missing", series=opened["series"])
    assert [line["missing"] for line in missing] == [log.expected().missing] * len(missing)
    assert bool(missing) == bool(log.expected().missing)
