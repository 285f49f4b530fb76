"""`cade simulate references` and `dataset` through kills, interrupts and wrong continuations."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from daemon.commands import main

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0
KILLED = """
import os, signal, sys
from pathlib import Path
from simulator import row_file
from simulator.pair_set_writer import PairSetRequest, plan_pair_set, write_pair_set

row_file.COMMIT_S = 0.0

def report(done):
    if done == 11:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    plan = plan_pair_set(PairSetRequest(Path(sys.argv[1]), 24, 6))
    write_pair_set(Path(sys.argv[2]), plan, workers=int(sys.argv[3]), report=report)
"""


def simulate(*words: object) -> int:
    return main(["simulate", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sets") / "references.h5"
    words = ["references", "--set", "paper", "--count", 4, "--shape", 64, 64, "--workers", 1]
    assert simulate(*words, "--output", path) == 0
    return path


def words_for(references: Path, output: Path, train: int = 24) -> list[object]:
    numbers = ["--train", train, "--test", 6]
    return ["dataset", "--references", references, *numbers, "--output", output]


@pytest.fixture(scope="module")
def undisturbed(references: Path) -> Path:
    """Made by one process, in one go."""
    output = references.with_name("undisturbed.h5")
    assert simulate(*words_for(references, output), "--workers", 1) == 0
    return output


def test_a_killed_run_is_resumed(references: Path, undisturbed: Path, tmp_path: Path) -> None:
    """By two processes until `kill -9`, then by one; the file is the same, byte by byte."""
    output = tmp_path / "pairs.h5"
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    done = subprocess.run(
        [sys.executable, script, references, output, "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    part = tmp_path / "pairs.h5.part"
    with h5py.File(part) as file:  # HDF5 can read what the killed process left
        assert file["train/written"][()].sum() == 11
    words = words_for(references, output)
    assert simulate(*words) == 2  # not without --resume
    assert simulate(*words_for(references, output, 25), "--resume") == 2
    assert simulate(*words, "--resume", "--workers", 1) == 0
    assert output.read_bytes() == undisturbed.read_bytes()
    assert not part.exists()
    assert output.with_suffix(".png").exists()


def test_what_is_complete_is_left_alone(
    references: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = undisturbed.stat()
    words = words_for(references, undisturbed)
    assert simulate(*words, "--resume") == 0
    assert capsys.readouterr().out.startswith("24 + 6 pairs of 64 × 64 px, 0.00")
    assert simulate(*words) == 2
    assert simulate(*words, "--resume", "--seed", 2) == 2
    assert "exists already with other settings (seed 1, not 2)" in capsys.readouterr().err
    assert undisturbed.stat() == before


def test_the_contact_sheet_overwrites_nothing(
    references: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.png").write_text("precious")
    assert simulate(*words_for(references, tmp_path / "pairs.h5")) == 2
    assert "pairs.png, the contact sheet, exists already" in capsys.readouterr().err
    assert (tmp_path / "pairs.png").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.png"]


def written(part: Path) -> int:
    if not part.exists():
        return 0
    with h5py.File(part, "r", locking=False) as file:
        return int(file["written"][()].sum())


def group_members(leader: int) -> list[int]:
    """Processes of a process group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = stat.read_text().rpartition(") ")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(group) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.fixture
def heeded_interrupts() -> Iterator[None]:
    """Children of a shell's background job inherit that SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupts")
def test_an_interrupt_leaves_no_process_and_can_be_resumed(tmp_path: Path) -> None:
    output = tmp_path / "references.h5"
    words = ["--set", "wide", "--count", "60", "--shape", "64", "64", "--output", str(output)]
    command = [sys.executable, "-m", "daemon", "simulate", "references", *words, "--workers", "2"]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        end = time.monotonic() + DEADLINE_S
        while not written(tmp_path / "references.h5.part"):
            assert time.monotonic() < end
            assert child.poll() is None
            time.sleep(0.02)
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does
        errors = child.communicate(timeout=DEADLINE_S)[1].splitlines()
    assert child.returncode == 130, errors
    assert errors[-1] == "cade: interrupted"
    assert "of 60 patterns are kept; continue with --resume" in errors[-2]
    assert not [line for line in errors if "Traceback" in line]
    while group_members(child.pid):  # the tracker of shared resources ends a moment later
        assert time.monotonic() < end
        time.sleep(0.02)
    kept = written(tmp_path / "references.h5.part")
    assert int(errors[-2].split(": ")[2].split()[0]) == kept < 60
