"""DECTRIS sets: a master file and the data files that it links to, in whatever order they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from cade.frames import Frame, Reason
from tests.growing_writer import picture
from tests.running_folder import NEVER_S, Running, soon

Watch = Callable[..., Running]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture(params=["events", "polling"])
def watch(request: pytest.FixtureRequest, folder: Path) -> Iterator[Watch]:
    started: list[Running] = []

    def start(**settings: object) -> Running:
        started.append(Running(folder, watch=request.param, **settings))
        return started[-1]

    yield start
    for running in started:
        running.finish()


def part(folder: Path, number: int) -> Path:
    """Two images in a data file, as a file writer closes it."""
    hidden = folder / ".part"
    with h5py.File(hidden, "w") as file:
        first = 2 * (number - 1)
        file["entry/data/data"] = np.stack([picture(first), picture(first + 1)])
    return hidden.rename(folder / f"s_data_{number:06d}.h5")


def master(folder: Path, parts: int) -> Path:
    hidden = folder / ".master"
    with h5py.File(hidden, "w") as file:
        for number in range(1, parts + 1):
            name = f"data_{number:06d}"
            file[f"entry/data/{name}"] = h5py.ExternalLink(f"s_{name}.h5", "/entry/data/data")
        file["entry/instrument/detector/detector_number"] = b"E-08-0101"
    return hidden.rename(folder / "s_master.h5")


def check(running: Running, first: int, count: int) -> None:
    frames = running.frames(count)
    assert [frame.image_id for frame in frames] == list(range(first, first + count))
    for frame in frames:
        np.testing.assert_array_equal(frame.data, picture(frame.image_id))
        assert frame.origin.endswith("s_master.h5")


def test_master_first_and_parts_one_by_one(folder: Path, watch: Watch) -> None:
    running = watch(give_up_s=NEVER_S)
    master(folder, 3)
    part(folder, 1)
    assert running.start().beamline.detector == "E-08-0101"
    check(running, 0, 2)
    part(folder, 2)
    check(running, 2, 2)
    assert soon(running) is None
    part(folder, 3)
    check(running, 4, 2)
    assert running.finish() == []


def test_parts_first(folder: Path, watch: Watch) -> None:
    running = watch(give_up_s=NEVER_S)
    for number in (2, 1):
        part(folder, number)
    assert soon(running) is None
    master(folder, 2)
    running.start()
    check(running, 0, 4)
    assert running.finish() == []


def test_part_that_never_comes_is_named_and_one_that_comes_late_is_read(
    folder: Path, watch: Watch
) -> None:
    running = watch(give_up_s=0.5)
    master(folder, 2)
    part(folder, 1)
    running.start()
    check(running, 0, 2)
    rejected = running.rejected()
    assert rejected.reason is Reason.UNREADABLE
    assert "s_data_000002.h5, which cannot be opened (no such file" in rejected.detail
    part(folder, 2)
    check(running, 2, 2)
    assert running.finish() == []


@pytest.mark.parametrize("late_master", [False, True])
def test_parts_without_a_master(folder: Path, watch: Watch, late_master: bool) -> None:
    """After a while they are read by themselves; a master that comes then adds nothing."""
    running = watch(give_up_s=0.5)
    part(folder, 1)
    running.start()
    assert [frame.origin[-8:] for frame in running.frames(2)] == ["00001.h5"] * 2
    if late_master:
        master(folder, 2)
    part(folder, 2)
    frames = running.frames(2)
    assert [frame.image_id for frame in frames] == [2, 3]
    np.testing.assert_array_equal(frames[1].data, picture(3))
    assert running.finish() == []


def test_pattern_without_masters(folder: Path, watch: Watch) -> None:
    running = watch(patterns=("*_data_*.h5",), give_up_s=NEVER_S)
    master(folder, 1)
    part(folder, 1)
    running.start()
    assert running.frames(2)[0].origin.endswith("s_data_000001.h5")
    assert running.finish() == []


def test_sets_that_are_there_at_start_are_ignored_on_demand(folder: Path, watch: Watch) -> None:
    master(folder, 2)
    part(folder, 1)
    running = watch(existing="ignore", give_up_s=NEVER_S)
    number, event = 0, None
    while event is None:  # files there by the first look exist already
        number += 1
        np.save(folder / ".new.npy", picture(100 + number))
        (folder / ".new.npy").rename(folder / f"{number}.npy")
        event = soon(running)
    part(folder, 2)
    frame = running.frame()
    while frame.origin.endswith(".npy"):
        frame = running.frame()
    np.testing.assert_array_equal(frame.data, picture(2))
    assert [type(event) for event in running.finish()] in ([], [Frame])
